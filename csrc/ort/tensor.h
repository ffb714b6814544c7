// Tensors that graphs read and write: views of the caller's memory, copies of the host, and memory
// of a device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ort/library.h"

namespace g4v::ort {

enum class DType { F32, I64, I32, F16, U8 };

size_t SizeOf(DType dtype);       // bytes of one element
const char* NameOf(DType dtype);  // "float32", ...
int ElementType(DType dtype);     // its number in ONNX Runtime, as in abi.h

// Caller-owned memory, row-major and contiguous. A rank-0 tensor has an empty shape. Inputs are
// only read.
struct TensorView {
  DType dtype = DType::F32;
  void* data = nullptr;  // the host's, unless `value` is set
  std::vector<int64_t> shape;
  OrtValue* value = nullptr;  // of a DeviceTensor
};

struct NamedTensor {
  std::string name;
  TensorView tensor;
};

struct HostTensor {
  std::vector<float> data;
  std::vector<int64_t> shape;
};

// Views of vectors. The vector must outlive the view; const data is not written to.
TensorView View(std::vector<float>& data, std::vector<int64_t> shape);
TensorView View(const std::vector<float>& data, std::vector<int64_t> shape);
TensorView View(const float* data, std::vector<int64_t> shape);
TensorView View(const std::vector<int64_t>& data, std::vector<int64_t> shape);
TensorView View(const std::vector<int32_t>& data, std::vector<int64_t> shape);
TensorView View(const int64_t* data, std::vector<int64_t> shape);
TensorView View(const int32_t* data, std::vector<int64_t> shape);

// Elements of a tensor of this shape. Throws Error(Internal) for a negative dimension.
size_t ElementCount(const std::vector<int64_t>& shape);

// The dimensions that ONNX Runtime gives of a value. Throws Error where they cannot be read.
std::vector<int64_t> ReadShape(const Environment& environment,
                               const OrtTensorTypeAndShapeInfo* info);

// A tensor in the memory of the device of a session, which must outlive it. Graphs on that device
// read and write it in place.
class DeviceTensor {
 public:
  DeviceTensor(std::shared_ptr<Environment> environment, OrtValue* value, TensorView view);
  ~DeviceTensor();
  DeviceTensor(const DeviceTensor&) = delete;
  DeviceTensor& operator=(const DeviceTensor&) = delete;

  // Its data are the device's: on a GPU no host reads them.
  const TensorView& view() const { return view_; }

  // A tensor of this one's memory, from its element `first` on. This one must outlive it.
  std::unique_ptr<DeviceTensor> Part(int64_t first, std::vector<int64_t> shape) const;

 private:
  std::shared_ptr<Environment> environment_;
  TensorView view_;
};

}  // namespace g4v::ort
