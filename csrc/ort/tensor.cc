#include "ort/tensor.h"

#include <utility>

#include "base/error.h"

namespace g4v::ort {
namespace {

template <class T>
TensorView MakeView(DType dtype, const T* data, std::vector<int64_t> shape) {
  // The C ABI has no const tensor; inputs are only read.
  return {dtype, const_cast<T*>(data), std::move(shape)};
}

}  // namespace

size_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return 4;
    case DType::I64:
      return 8;
    case DType::I32:
      return 4;
    case DType::F16:
      return 2;
    case DType::U8:
      return 1;
  }
  return 0;
}

const char* NameOf(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return "float32";
    case DType::I64:
      return "int64";
    case DType::I32:
      return "int32";
    case DType::F16:
      return "float16";
    case DType::U8:
      return "uint8";
  }
  return "unknown";
}

TensorView View(std::vector<float>& data, std::vector<int64_t> shape) {
  return MakeView(DType::F32, data.data(), std::move(shape));
}
TensorView View(const std::vector<float>& data, std::vector<int64_t> shape) {
  return MakeView(DType::F32, data.data(), std::move(shape));
}
TensorView View(const float* data, std::vector<int64_t> shape) {
  return MakeView(DType::F32, data, std::move(shape));
}
TensorView View(const std::vector<int64_t>& data, std::vector<int64_t> shape) {
  return MakeView(DType::I64, data.data(), std::move(shape));
}
TensorView View(const std::vector<int32_t>& data, std::vector<int64_t> shape) {
  return MakeView(DType::I32, data.data(), std::move(shape));
}
TensorView View(const int64_t* data, std::vector<int64_t> shape) {
  return MakeView(DType::I64, data, std::move(shape));
}
TensorView View(const int32_t* data, std::vector<int64_t> shape) {
  return MakeView(DType::I32, data, std::move(shape));
}

int ElementType(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return abi::kElementFloat;
    case DType::I64:
      return abi::kElementInt64;
    case DType::I32:
      return abi::kElementInt32;
    case DType::F16:
      return abi::kElementFloat16;
    case DType::U8:
      return abi::kElementUint8;
  }
  throw Error(Code::Internal, "unknown dtype " + std::to_string(static_cast<int>(dtype)));
}

size_t ElementCount(const std::vector<int64_t>& shape) {
  size_t count = 1;
  for (const int64_t dimension : shape) {
    if (dimension < 0) throw Error(Code::Internal, "a tensor to run has a negative dimension");
    count *= static_cast<size_t>(dimension);
  }
  return count;
}

std::vector<int64_t> ReadShape(const Environment& environment,
                               const OrtTensorTypeAndShapeInfo* info) {
  const abi::Api& api = environment.api();
  size_t rank = 0;
  environment.Check(api.GetDimensionsCount(info, &rank), "a shape cannot be read");
  std::vector<int64_t> shape(rank);
  environment.Check(api.GetDimensions(info, shape.data(), rank), "a shape cannot be read");
  return shape;
}

DeviceTensor::DeviceTensor(std::shared_ptr<Environment> environment, OrtValue* value,
                           TensorView view)
    : environment_(std::move(environment)), view_(std::move(view)) {
  view_.value = value;
  OrtStatus* status = environment_->api().GetTensorMutableData(value, &view_.data);
  if (!status) return;
  environment_->api().ReleaseValue(value);
  environment_->Check(status, "a tensor of the device cannot be used");
}

DeviceTensor::~DeviceTensor() { environment_->api().ReleaseValue(view_.value); }

std::unique_ptr<DeviceTensor> DeviceTensor::Part(int64_t first, std::vector<int64_t> shape) const {
  const abi::Api& api = environment_->api();
  const size_t size = SizeOf(view_.dtype);
  const size_t count = ElementCount(shape);
  if (first < 0 || static_cast<size_t>(first) + count > ElementCount(view_.shape)) {
    throw Error(Code::Internal, "a part of a device's tensor goes beyond it");
  }
  TensorView view{view_.dtype, nullptr, std::move(shape), nullptr};
  const OrtMemoryInfo* memory = nullptr;  // the tensor's own
  environment_->Check(api.GetTensorMemoryInfo(view_.value, &memory), "no memory info");
  char* const data = static_cast<char*>(view_.data) + static_cast<size_t>(first) * size;
  environment_->Check(
      api.CreateTensorWithDataAsOrtValue(memory, data, count * size, view.shape.data(),
                                         view.shape.size(), ElementType(view.dtype), &view.value),
      "a part of a device's tensor cannot be used");
  OrtValue* const value = view.value;
  return std::make_unique<DeviceTensor>(environment_, value, std::move(view));
}

}  // namespace g4v::ort
