// The operators SkipNorm and GatedNorm; see custom_ops.h.
#include <cmath>

#include "kernels/cpu/norm/norms.h"
#include "ort/custom_kernel.h"

namespace g4v::ort {
namespace {

using kernels::LayerNormParams;

class NormKernel {
 public:
  NormKernel(const abi::Api& api, const OrtKernelInfo* info, const char* name)
      : api_(api), name_(std::string("g4v.") + name + ": ") {
    Check(api_.KernelInfoGetAttribute_float(info, "epsilon", &epsilon_));
    if (!(epsilon_ > 0.0f) || !std::isfinite(epsilon_)) {
      throw StatusError(name_ + "epsilon must be above 0 and finite");
    }
  }

  const abi::Api& api() const { return api_; }

  void SkipNorm(OrtKernelContext* context) const {
    const std::vector<int64_t> shape = ReadShape(api_, Input(api_, context, 0), 3, name_ + "x");
    const std::vector<int64_t> skip = ReadShape(api_, Input(api_, context, 1), 3, name_ + "skip");
    if (skip != shape) throw StatusError(name_ + "x and skip differ in shape");
    kernels::SkipLayerNormParams p;
    p.norm = Norm(context, shape, shape[2], 2);
    p.x = Data(api_, Input(api_, context, 0));
    p.skip = Data(api_, Input(api_, context, 1));
    p.bias = Row(context, 4, "bias", shape[2]);
    p.sum = Output(api_, context, 1, shape);
    if (p.norm.width == 0) return;
    SessionThreads threads(api_, context);
    kernels::SkipLayerNorm(p, threads);
  }

  void GatedNorm(OrtKernelContext* context) const {
    std::vector<int64_t> shape = ReadShape(api_, Input(api_, context, 0), 3, name_ + "x");
    if (shape[2] % 2 != 0) {
      throw StatusError(name_ + "x has " + std::to_string(shape[2]) +
                        " columns, which are no pairs of a gate and what it lets through");
    }
    const int64_t columns = shape[2];
    shape[2] = columns / 2;
    kernels::GatedLayerNormParams p;
    p.norm = Norm(context, shape, shape[2], 1);
    p.x = Data(api_, Input(api_, context, 0));
    p.bias = Row(context, 3, "bias", columns);
    if (p.norm.width == 0) return;
    SessionThreads threads(api_, context);
    kernels::GatedLayerNorm(p, threads);
  }

 private:
  // scale and shift are the inputs `first` and the next.
  LayerNormParams Norm(OrtKernelContext* context, const std::vector<int64_t>& shape, int64_t width,
                       size_t first) const {
    LayerNormParams p;
    p.rows = shape[0] * shape[1];
    p.width = width;
    p.epsilon = epsilon_;
    p.scale = Row(context, first, "scale", width);
    p.shift = Row(context, first + 1, "shift", width);
    p.out = Output(api_, context, 0, shape);
    return p;
  }

  const float* Row(OrtKernelContext* context, size_t index, const char* name, int64_t size) const {
    const OrtValue* value = Input(api_, context, index);
    const std::vector<int64_t> shape = ReadShape(api_, value, 1, name_ + name);
    if (shape[0] != size) {
      throw StatusError(name_ + name + " must have " + std::to_string(size) + " values, not " +
                        std::to_string(shape[0]));
    }
    return Data(api_, value);
  }

  const abi::Api& api_;
  std::string name_;
  float epsilon_ = 0.0f;
};

Operator Describe(const char* name, size_t inputs, size_t outputs) {
  Operator op(name, inputs, outputs);
  op.CreateKernelV2 = [](const abi::CustomOp* self, const void* table, const OrtKernelInfo* info,
                         void** kernel) {
    const abi::Api api(table);
    return Guard(api, [&] {
      // The library's own table: this one ends with the call.
      *kernel =
          new NormKernel(FindLibrary(api, {})->api, info, static_cast<const Operator*>(self)->name);
    });
  };
  op.KernelDestroy = [](void* kernel) { delete static_cast<NormKernel*>(kernel); };
  return op;
}

}  // namespace

const Operator& SkipNormOperator() {
  static const Operator op = [] {
    Operator described = Describe("SkipNorm", 5, 2);
    described.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
      const auto& norm = *static_cast<NormKernel*>(kernel);
      return Guard(norm.api(), [&] { norm.SkipNorm(context); });
    };
    return described;
  }();
  return op;
}

const Operator& GatedNormOperator() {
  static const Operator op = [] {
    Operator described = Describe("GatedNorm", 4, 1);
    described.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
      const auto& norm = *static_cast<NormKernel*>(kernel);
      return Guard(norm.api(), [&] { norm.GatedNorm(context); });
    };
    return described;
  }();
  return op;
}

}  // namespace g4v::ort
