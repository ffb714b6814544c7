// What the kernels of g4v's operators share: errors, inputs and outputs, and the session's threads.
#pragma once

#include <cstdint>
#include <exception>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/cpu.h"
#include "base/process.h"
#include "kernels/parallel.h"
#include "ort/abi.h"

namespace g4v::ort {

// One copy of ONNX Runtime in this process. Python's module carries a copy of its own, beside the
// one that the core loads, and what one made must not reach the other. Lives as long as the
// process, as do the sessions that use it.
struct Library {
  abi::Api api;
  bool cuda = false;  // its domain has the operators of the CUDA provider
  OrtMemoryInfo* host_memory = nullptr;
  OrtCustomOpDomain* domain = nullptr;
};

class StatusError {
 public:
  explicit StatusError(OrtStatus* status) : status_(status) {}
  explicit StatusError(std::string message) : message_(std::move(message)) {}
  OrtStatus* Take(const abi::Api& api) {
    if (status_) return std::exchange(status_, nullptr);
    return api.CreateStatus(abi::kInvalidArgument, message_.c_str());
  }

 private:
  OrtStatus* status_ = nullptr;
  std::string message_;
};

inline void Check(OrtStatus* status) {
  if (status) throw StatusError(status);
}

// Runs `action`; what it throws becomes a status of this copy of the library.
template <class Action>
OrtStatus* Guard(const abi::Api& api, Action&& action) noexcept {
  try {
    action();
    return nullptr;
  } catch (StatusError& error) {
    return error.Take(api);
  } catch (const std::exception& error) {
    return api.CreateStatus(abi::kInvalidArgument, error.what());
  }
}

// The threads of the session, which the kernel must share: two sets of threads on one processor
// would wait for each other.
class SessionThreads final : public kernels::Parallel {
 public:
  SessionThreads(const abi::Api& api, OrtKernelContext* context) : api_(api), context_(context) {}

  // The library does not tell how many threads a session has. This many pieces are made; the
  // session runs as many of them at once as it has threads.
  int threads() const override {
    return MadeOnce([] { return UsableCores(); });
  }

  void Run(int64_t count, Task task, void* context) override {
    struct Call {
      Task task;
      void* context;
    } call{task, context};
    const auto run = [](void* data, size_t index) {
      const Call& of = *static_cast<Call*>(data);
      of.task(of.context, static_cast<int64_t>(index));
    };
    Check(api_.KernelContext_ParallelFor(context_, run, static_cast<size_t>(count), 0, &call));
  }

 private:
  const abi::Api& api_;
  OrtKernelContext* context_;
};

// A whole number from `least` on that leaves room for sums; anything else is refused as `name`.
inline int64_t ReadAttribute(const abi::Api& api, const OrtKernelInfo* info, const char* attribute,
                             const std::string& name, int64_t least) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  int64_t value = 0;
  Check(api.KernelInfoGetAttribute_int64(info, attribute, &value));
  if (value < least || value > kMost) {
    throw StatusError(name + attribute + " must be from " + std::to_string(least) + " to " +
                      std::to_string(kMost) + ", not " + std::to_string(value));
  }
  return value;
}

// Sizes whose products all fit: a tensor without elements may have any others.
inline std::vector<int64_t> ReadShape(const abi::Api& api, const OrtValue* value,
                                      const std::string& name) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  Check(api.GetTensorTypeAndShape(value, &info));
  size_t rank = 0;
  std::vector<int64_t> sizes;
  OrtStatus* status = api.GetDimensionsCount(info, &rank);
  if (!status) {
    sizes.resize(rank);
    status = api.GetDimensions(info, sizes.data(), rank);
  }
  api.ReleaseTensorTypeAndShapeInfo(info);
  Check(status);
  if (!CheckedBytes(sizes, sizeof(float))) throw StatusError(name + " is too large");
  return sizes;
}

// Sizes of a tensor of `rank` dimensions; anything else is refused as `name`.
inline std::vector<int64_t> ReadShape(const abi::Api& api, const OrtValue* value, size_t rank,
                                      const std::string& name) {
  std::vector<int64_t> sizes = ReadShape(api, value, name);
  if (sizes.size() != rank) {
    throw StatusError(name + " must have " + std::to_string(rank) + " dimensions, not " +
                      std::to_string(sizes.size()));
  }
  return sizes;
}

inline const OrtValue* Input(const abi::Api& api, OrtKernelContext* context, size_t index) {
  const OrtValue* value = nullptr;
  Check(api.KernelContext_GetInput(context, index, &value));
  return value;
}

inline float* Data(const abi::Api& api, const OrtValue* value) {
  void* data = nullptr;
  // The C ABI has no way to read a tensor as const.
  Check(api.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
  return static_cast<float*>(data);
}

inline float* Output(const abi::Api& api, OrtKernelContext* context, size_t index,
                     const std::vector<int64_t>& shape) {
  OrtValue* value = nullptr;
  Check(api.KernelContext_GetOutput(context, index, shape.data(), shape.size(), &value));
  return Data(api, value);
}

// A kernel's way to scratch memory of its session's arena.
class Arena {
 public:
  Arena(const abi::Api& api, const OrtKernelInfo* info) : api_(api) {
    Check(api_.KernelInfoGetAllocator(info, abi::kMemoryDefault, &allocator_));
  }
  ~Arena() { api_.ReleaseAllocator(allocator_); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // For one call. The library leaves it to us to give it back.
  class Scratch {
   public:
    Scratch(const Arena& arena, OrtKernelContext* context, const OrtMemoryInfo* memory,
            size_t bytes)
        : arena_(arena) {
      if (bytes == 0) return;
      Check(arena_.api_.KernelContext_GetScratchBuffer(context, memory, bytes, &data_));
    }
    ~Scratch() {
      if (!data_) return;
      OrtStatus* const status = arena_.api_.AllocatorFree(arena_.allocator_, data_);
      if (status) arena_.api_.ReleaseStatus(status);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    void* data() const { return data_; }

   private:
    const Arena& arena_;
    void* data_ = nullptr;
  };

 private:
  const abi::Api& api_;
  OrtAllocator* allocator_ = nullptr;
};

// The copy of the library whose functions these are; without `cuda` either domain will do. Null
// where no session asked for operators yet.
const Library* FindLibrary(const abi::Api& api, std::optional<bool> cuda);

// An operator of floats whose inputs are all needed. Lives as long as the process.
struct Operator : abi::CustomOp {
  Operator(const char* name, size_t inputs, size_t outputs);

  const char* name;
  size_t inputs;
  size_t outputs;
};

// Defined in custom_norms.cc.
const Operator& SkipNormOperator();
const Operator& GatedNormOperator();

// Defined in custom_convolution.cc; null where the processor has no vectors that they are made for.
const Operator* WinogradConvOperator();
const Operator* NormSiluWinogradConvOperator();

// Defined in custom_matmul.cc; null where the processor has no tiles.
const Operator* MatMulOperator();

}  // namespace g4v::ort
