// As much of ONNX Runtime's C ABI (ort/abi.h) as the kernels of g4v's operators ask for, with
// tensors in buffers of exactly their size and attributes of any value.
#pragma once

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "ort/abi.h"

struct OrtStatus {
  std::string message;
};
struct OrtValue {
  std::vector<int64_t> shape;
  std::vector<float> data;
};
struct OrtTensorTypeAndShapeInfo {
  std::vector<int64_t> shape;
};
struct OrtKernelInfo {
  std::map<std::string, int64_t> integers;
  float epsilon = 1e-5f;
  std::map<size_t, OrtValue> constants;  // inputs that are known when the kernel is made
};
struct OrtKernelContext {
  std::vector<OrtValue> inputs;
  std::map<size_t, OrtValue> outputs;
};

namespace g4v::fuzz {

namespace abi = g4v::ort::abi;

class FakeSession {
 public:
  // The operators of the domain, by their names.
  static std::map<std::string, const abi::CustomOp*>& Operators() {
    static std::map<std::string, const abi::CustomOp*> operators;
    return operators;
  }

  // The functions, at their places.
  static const void* Table() {
    static void (*table[320])() = {};
#define G4V_FUZZ_PLACE(name, position, ...)                       \
  if (decltype(abi::Api::name) const function = Functions().name) \
    table[position] = reinterpret_cast<void (*)()>(function);
    G4V_ORT_FUNCTIONS(G4V_FUZZ_PLACE)
#undef G4V_FUZZ_PLACE
    return table;
  }

 private:
  static const abi::Api& Functions() {
    static const abi::Api api = Make();
    return api;
  }

  static abi::Api Make() {
    abi::Api api;
    api.CreateStatus = [](int, const char* message) { return new OrtStatus{message}; };
    api.GetErrorMessage = [](const OrtStatus* status) { return status->message.c_str(); };
    api.ReleaseStatus = [](OrtStatus* status) { delete status; };
    api.CreateCpuMemoryInfo = [](int, int, OrtMemoryInfo** info) -> OrtStatus* {
      return *info = nullptr, nullptr;
    };
    api.CreateCustomOpDomain = [](const char*, OrtCustomOpDomain** domain) -> OrtStatus* {
      return *domain = nullptr, nullptr;
    };
    api.AddCustomOpDomain = [](OrtSessionOptions*, OrtCustomOpDomain*) -> OrtStatus* {
      return nullptr;
    };
    api.CustomOpDomain_Add = [](OrtCustomOpDomain*, const OrtCustomOp* added) -> OrtStatus* {
      const auto* const op = reinterpret_cast<const abi::CustomOp*>(added);
      Operators()[op->GetName(op)] = op;
      return nullptr;
    };
    api.KernelInfoGetAllocator = [](const OrtKernelInfo*, int, OrtAllocator** out) -> OrtStatus* {
      return *out = nullptr, nullptr;
    };
    api.ReleaseAllocator = [](OrtAllocator*) {};
    api.KernelInfoGetAttribute_int64 = [](const OrtKernelInfo* info, const char* name,
                                          int64_t* out) -> OrtStatus* {
      return *out = info->integers.at(name), nullptr;
    };
    api.KernelInfoGetAttribute_float = [](const OrtKernelInfo* info, const char*,
                                          float* out) -> OrtStatus* {
      return *out = info->epsilon, nullptr;
    };
    api.KernelInfoGetConstantInput_tensor = [](const OrtKernelInfo* info, size_t i, int* constant,
                                               const OrtValue** out) -> OrtStatus* {
      const auto found = info->constants.find(i);
      *constant = found != info->constants.end();
      return *out = *constant ? &found->second : nullptr, nullptr;
    };
    api.KernelContext_GetInput = [](const OrtKernelContext* context, size_t i,
                                    const OrtValue** out) -> OrtStatus* {
      return *out = &context->inputs.at(i), nullptr;
    };
    api.GetTensorTypeAndShape = [](const OrtValue* value,
                                   OrtTensorTypeAndShapeInfo** out) -> OrtStatus* {
      return *out = new OrtTensorTypeAndShapeInfo{value->shape}, nullptr;
    };
    api.ReleaseTensorTypeAndShapeInfo = [](OrtTensorTypeAndShapeInfo* info) { delete info; };
    api.GetDimensionsCount = [](const OrtTensorTypeAndShapeInfo* info, size_t* out) -> OrtStatus* {
      return *out = info->shape.size(), nullptr;
    };
    api.GetDimensions = [](const OrtTensorTypeAndShapeInfo* info, int64_t* out,
                           size_t) -> OrtStatus* {
      return std::copy(info->shape.begin(), info->shape.end(), out), nullptr;
    };
    api.GetTensorMutableData = [](OrtValue* value, void** out) -> OrtStatus* {
      return *out = value->data.data(), nullptr;
    };
    api.KernelContext_GetOutput = [](OrtKernelContext* context, size_t i, const int64_t* shape,
                                     size_t rank, OrtValue** out) -> OrtStatus* {
      OrtValue value{{shape, shape + rank}, {}};
      size_t count = 1;
      for (const int64_t size : value.shape) count *= static_cast<size_t>(size);
      value.data.resize(count);
      return *out = &(context->outputs[i] = std::move(value)), nullptr;
    };
    api.KernelContext_ParallelFor = [](const OrtKernelContext*, void (*function)(void*, size_t),
                                       size_t count, size_t, void* context) -> OrtStatus* {
      for (size_t i = 0; i < count; ++i) function(context, i);
      return nullptr;
    };
    api.KernelContext_GetScratchBuffer = [](const OrtKernelContext*, const OrtMemoryInfo*,
                                            size_t bytes, void** out) -> OrtStatus* {
      return *out = std::aligned_alloc(64, (bytes + 63) / 64 * 64), nullptr;
    };
    api.AllocatorFree = [](OrtAllocator*, void* memory) -> OrtStatus* {
      return std::free(memory), nullptr;
    };
    return api;
  }
};

}  // namespace g4v::fuzz
