// The operator MatMul; see custom_ops.h.
#include "kernels/cpu/gemm/gemm_amx.h"
#include "kernels/cpu/thread_pool.h"
#include "ort/custom_kernel.h"

namespace g4v::ort {

#ifdef G4V_AMX

namespace {

using kernels::PackedMatrix;

class MatMulKernel {
 public:
  MatMulKernel(const Library& library, const OrtKernelInfo* info)
      : library_(library), arena_(library.api, info), weight_(ReadWeight(library.api, info)) {}

  const abi::Api& api() const { return library_.api; }

  void Compute(OrtKernelContext* context) const {
    const OrtValue* x = Input(api(), context, 0);
    std::vector<int64_t> shape = ReadShape(api(), x, "g4v.MatMul: x");
    const int64_t depth = shape.empty() ? 1 : shape.back();
    if (shape.empty() || depth != weight_.depth()) {
      throw StatusError("g4v.MatMul: x must have rows of " + std::to_string(weight_.depth()) +
                        " values, not of " + std::to_string(depth));
    }
    shape.back() = weight_.columns();
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
    float* const out = Output(api(), context, 0, shape);
    if (rows == 0) return;
    const Arena::Scratch scratch(arena_, context, library_.host_memory,
                                 kernels::GemmAmxWorkspaceSize(rows, weight_));
    SessionThreads threads(api(), context);
    kernels::GemmAmx(Data(api(), x), rows, weight_, out, scratch.data(), threads);
  }

 private:
  static PackedMatrix ReadWeight(const abi::Api& api, const OrtKernelInfo* info) {
    int constant = 0;
    const OrtValue* value = nullptr;
    Check(api.KernelInfoGetConstantInput_tensor(info, 1, &constant, &value));
    if (!constant) throw StatusError("g4v.MatMul: the weight must be a constant of the graph");
    const std::vector<int64_t> shape = ReadShape(api, value, 2, "g4v.MatMul: weight");
    if (shape[0] == 0 || shape[1] == 0) throw StatusError("g4v.MatMul: the weight is empty");
    int64_t pieces = 0;
    Check(api.KernelInfoGetAttribute_int64(info, "pieces", &pieces));
    if (pieces != 2 && pieces != 3) {
      throw StatusError("g4v.MatMul: pieces must be 2 or 3, not " + std::to_string(pieces));
    }
    // While a session is made its threads cannot be had.
    kernels::ThreadPool threads(shape[0] * shape[1] < kFewValues ? 1 : UsableCores());
    return PackedMatrix(Data(api, value), shape[0], shape[1], static_cast<int>(pieces), threads);
  }

  static constexpr int64_t kFewValues = 1 << 20;  // packed before other threads have started

  const Library& library_;
  const Arena arena_;
  const PackedMatrix weight_;
};

}  // namespace

const Operator* MatMulOperator() {
  static const Operator op = [] {
    Operator described("MatMul", 2, 1);
    described.CreateKernelV2 = [](const abi::CustomOp*, const void* table,
                                  const OrtKernelInfo* info, void** kernel) {
      const abi::Api api(table);
      return Guard(api, [&] { *kernel = new MatMulKernel(*FindLibrary(api, {}), info); });
    };
    described.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
      const auto& product = *static_cast<MatMulKernel*>(kernel);
      return Guard(product.api(), [&] { product.Compute(context); });
    };
    described.KernelDestroy = [](void* kernel) { delete static_cast<MatMulKernel*>(kernel); };
    return described;
  }();
  return kernels::GemmAmxChosen() ? &op : nullptr;
}

#else

const Operator* MatMulOperator() { return nullptr; }

#endif

}  // namespace g4v::ort
