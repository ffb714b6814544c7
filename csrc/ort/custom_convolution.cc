// The operators WinogradConv and NormSiluWinogradConv; see custom_ops.h.
#include <cmath>

#include "kernels/cpu/convolution/winograd.h"
#include "kernels/cpu/thread_pool.h"
#include "ort/custom_kernel.h"

namespace g4v::ort {
namespace {

using kernels::ConvolutionParams;
using kernels::GroupNormParams;
using kernels::WinogradWeight;

// A constant input of the graph, and its shape, of `rank` dimensions.
const float* ReadConstant(const abi::Api& api, const OrtKernelInfo* info, size_t index, size_t rank,
                          const std::string& name, std::vector<int64_t>& shape) {
  int constant = 0;
  const OrtValue* value = nullptr;
  Check(api.KernelInfoGetConstantInput_tensor(info, index, &constant, &value));
  if (!constant) throw StatusError(name + " must be a constant of the graph");
  shape = ReadShape(api, value, rank, name);
  return Data(api, value);
}

// The weight is the input `first`, the bias the next.
WinogradWeight ReadWeight(const abi::Api& api, const OrtKernelInfo* info, size_t first,
                          const std::string& name) {
  std::vector<int64_t> shape;
  std::vector<int64_t> columns;
  const float* const weight = ReadConstant(api, info, first, 4, name + "weight", shape);
  const float* const bias = ReadConstant(api, info, first + 1, 1, name + "bias", columns);
  if (shape[0] == 0 || shape[1] == 0 || shape[2] != 3 || (shape[3] != 3 && shape[3] != 1)) {
    throw StatusError(name + "the weight must have 3x3 or 3x1 values for each pair of channels");
  }
  if (columns[0] != shape[0]) {
    throw StatusError(name + "bias must have " + std::to_string(shape[0]) + " values, not " +
                      std::to_string(columns[0]));
  }
  // Transformed before other threads would have started.
  constexpr int64_t kFewFilters = 1 << 15;
  // While a session is made its threads cannot be had.
  kernels::ThreadPool threads(shape[0] * shape[1] < kFewFilters ? 1 : UsableCores());
  return WinogradWeight(weight, bias, shape[0], shape[1], shape[3], threads);
}

// kNorm: NormSiluWinogradConv.
template <bool kNorm>
class WinogradConvKernel {
 public:
  static constexpr size_t kInputs = kNorm ? 5 : 3;
  static constexpr const char* kName = kNorm ? "NormSiluWinogradConv" : "WinogradConv";

  WinogradConvKernel(const Library& library, const OrtKernelInfo* info)
      : library_(library),
        arena_(library.api, info),
        name_(std::string("g4v.") + kName + ": "),
        weight_(ReadWeight(library.api, info, kInputs - 2, name_)) {
    if constexpr (kNorm) {
      groups_ = ReadAttribute(api(), info, "num_groups", name_, 1);
      Check(api().KernelInfoGetAttribute_float(info, "epsilon", &epsilon_));
      if (!(epsilon_ > 0.0f) || !std::isfinite(epsilon_)) {
        throw StatusError(name_ + "epsilon must be above 0 and finite");
      }
      if (weight_.channels() % groups_ != 0) {
        throw StatusError(name_ + "num_groups is " + std::to_string(groups_) + ", no divisor of " +
                          std::to_string(weight_.channels()) + " channels");
      }
    }
  }

  const abi::Api& api() const { return library_.api; }

  void Compute(OrtKernelContext* context) const {
    const OrtValue* x = Input(api(), context, 0);
    std::vector<int64_t> shape = ReadShape(api(), x, 4, name_ + "x");
    if (shape[1] != weight_.channels()) {
      throw StatusError(name_ + "x must have " + std::to_string(weight_.channels()) +
                        " channels, not " + std::to_string(shape[1]));
    }
    shape[1] = weight_.out_channels();
    if (!CheckedBytes(shape, sizeof(float))) throw StatusError(name_ + "x is too large");
    GroupNormParams norm;
    ConvolutionParams p;
    if constexpr (kNorm) {
      norm = {groups_, epsilon_, ReadRow(context, 1, "scale"), ReadRow(context, 2, "shift")};
      p.norm = &norm;
    }
    p.batch = shape[0];
    p.height = shape[2];
    p.width = shape[3];
    p.x = Data(api(), x);
    p.out = Output(api(), context, 0, shape);
    if (p.batch == 0 || p.height == 0 || p.width == 0) return;
    SessionThreads threads(api(), context);
    const Arena::Scratch scratch(arena_, context, library_.host_memory,
                                 kernels::WinogradWorkspaceSize(p, weight_, threads.threads()));
    kernels::WinogradConvolution(p, weight_, scratch.data(), threads);
  }

  static Operator Describe() {
    Operator described(kName, kInputs, 1);
    described.CreateKernelV2 = [](const abi::CustomOp*, const void* table,
                                  const OrtKernelInfo* info, void** kernel) {
      const abi::Api api(table);
      return Guard(api, [&] { *kernel = new WinogradConvKernel(*FindLibrary(api, {}), info); });
    };
    described.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
      const auto& convolution = *static_cast<WinogradConvKernel*>(kernel);
      return Guard(convolution.api(), [&] { convolution.Compute(context); });
    };
    described.KernelDestroy = [](void* kernel) { delete static_cast<WinogradConvKernel*>(kernel); };
    return described;
  }

 private:
  // A value of each channel.
  const float* ReadRow(OrtKernelContext* context, size_t index, const char* name) const {
    const OrtValue* value = Input(api(), context, index);
    const std::vector<int64_t> shape = ReadShape(api(), value, 1, name_ + name);
    if (shape[0] != weight_.channels()) {
      throw StatusError(name_ + name + " must have " + std::to_string(weight_.channels()) +
                        " values, not " + std::to_string(shape[0]));
    }
    return Data(api(), value);
  }

  const Library& library_;
  const Arena arena_;
  const std::string name_;
  const WinogradWeight weight_;
  int64_t groups_ = 0;
  float epsilon_ = 0.0f;
};

// Whether the processor has vectors that the kernels are made for.
bool Vectors() { return kernels::ChosenIsa() >= kernels::Isa::kAvx2; }

}  // namespace

const Operator* WinogradConvOperator() {
  static const Operator op = WinogradConvKernel<false>::Describe();
  return Vectors() ? &op : nullptr;
}

const Operator* NormSiluWinogradConvOperator() {
  static const Operator op = WinogradConvKernel<true>::Describe();
  return Vectors() ? &op : nullptr;
}

}  // namespace g4v::ort
