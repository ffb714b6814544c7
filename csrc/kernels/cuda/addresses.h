// From a plan to the compiled kernels that run it.
#pragma once

#include "kernels/cuda/kernels.h"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/portable.h"

namespace g4v::kernels::cuda {

template <class T>
inline const void* AddressOf(Kernel kernel, int64_t head_size) {
#if G4V_CUDA_WARPGROUP
  if constexpr (sizeof(T) == 2) {
    if (kernel == Kernel::kWarpgroup) {
      return head_size == 64 ? WarpgroupKernelAddress<T, 64>() : WarpgroupKernelAddress<T, 128>();
    }
  }
#endif
  if (kernel == Kernel::kPlain) {
    switch (head_size) {
      case 32:
        return PlainKernelAddress<T, 32>();
      case 64:
        return PlainKernelAddress<T, 64>();
      case 80:
        return PlainKernelAddress<T, 80>();
      case 96:
        return PlainKernelAddress<T, 96>();
      case 128:
        return PlainKernelAddress<T, 128>();
      default:
        return nullptr;  // CheckCrossAttention has refused it
    }
  }
  if constexpr (sizeof(T) == 2) {
    switch (head_size) {
      case 32:
        return TensorCoreKernelAddress<T, 32>();
      case 64:
        return TensorCoreKernelAddress<T, 64>();
      case 80:
        return TensorCoreKernelAddress<T, 80>();
      case 96:
        return TensorCoreKernelAddress<T, 96>();
      case 128:
        return TensorCoreKernelAddress<T, 128>();
      default:
        return nullptr;
    }
  }
  return nullptr;  // MakePlan gives float32 to the plain kernel alone
}

struct Addresses {
  const void* attention;
  const void* merge;
};

inline Addresses AddressesOf(const CrossAttentionParams& p, const Plan& plan) {
  switch (p.dtype) {
    case DType::kFloat32:
      return {AddressOf<float>(plan.kernel, p.head_size), MergeKernelAddress<float>()};
    case DType::kFloat16:
      return {AddressOf<Half>(plan.kernel, p.head_size), MergeKernelAddress<Half>()};
    case DType::kBFloat16:
      return {AddressOf<BFloat16>(plan.kernel, p.head_size), MergeKernelAddress<BFloat16>()};
  }
  return {nullptr, nullptr};
}

}  // namespace g4v::kernels::cuda
