#include "cuda_host/host_kernels.h"

#include "cuda_host/device.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/merge.cuh"
#include "kernels/cuda/plain.cuh"
#include "kernels/cuda/tensor_core.cuh"
#include "kernels/cuda/warpgroup.cuh"

namespace g4v::cuda_host {
namespace {

using kernels::DType;
using kernels::cuda::BFloat16;
using kernels::cuda::Half;
using kernels::cuda::Launch;

template <class T, int D>
Body AttentionBody(HostKernel::Kind kind, const Launch& launch) {
  if (kind == HostKernel::kPlain) {
    return [&](unsigned char* shared) { kernels::cuda::PlainBody<T, D>(launch, shared); };
  }
  if constexpr (sizeof(T) == 2 && D % 64 == 0) {
    if (kind == HostKernel::kWarpgroup) {
      return
          [&](unsigned char* shared) { kernels::cuda::WarpgroupBlock<T, D>(launch, shared).Run(); };
    }
  }
  if constexpr (sizeof(T) == 2) {
    if (kind != HostKernel::kTensorCore) Fail("this head size has no warpgroup kernel");
    return
        [&](unsigned char* shared) { kernels::cuda::TensorCoreBlock<T, D>(launch, shared).Run(); };
  }
  Fail("float32 has no tensor-core kernel");
}

template <class T>
Body BodyOfType(const HostKernel& kernel, const Launch& launch) {
  if (kernel.kind == HostKernel::kMerge) {
    return [&](unsigned char*) { kernels::cuda::MergeBody<T>(launch); };
  }
  switch (kernel.head_size) {
    case 32:
      return AttentionBody<T, 32>(kernel.kind, launch);
    case 64:
      return AttentionBody<T, 64>(kernel.kind, launch);
    case 80:
      return AttentionBody<T, 80>(kernel.kind, launch);
    case 96:
      return AttentionBody<T, 96>(kernel.kind, launch);
    case 128:
      return AttentionBody<T, 128>(kernel.kind, launch);
    default:
      Fail("no such head size");
  }
}

}  // namespace

Body BodyOf(const HostKernel& kernel, const Launch& launch) {
  if (kernel.dtype != launch.p.dtype ||
      (kernel.kind != HostKernel::kMerge && kernel.head_size != launch.p.head_size)) {
    Fail("a kernel was launched with another's parameters");
  }
  switch (kernel.dtype) {
    case DType::kFloat32:
      return BodyOfType<float>(kernel, launch);
    case DType::kFloat16:
      return BodyOfType<Half>(kernel, launch);
    case DType::kBFloat16:
      return BodyOfType<BFloat16>(kernel, launch);
  }
  Fail("no such type");
}

}  // namespace g4v::cuda_host

// What library.cu gives to the CUDA runtime (fake_runtime.cc here): the address of a HostKernel.
namespace g4v::kernels::cuda {
namespace {

template <class T>
constexpr DType TypeOf() {
  return sizeof(T) == 4 ? DType::kFloat32 : DType::kBFloat16;
}
template <>
constexpr DType TypeOf<Half>() {
  return DType::kFloat16;
}

template <class T, int D, cuda_host::HostKernel::Kind kKind>
const void* Address() {
  static const cuda_host::HostKernel kernel = {kKind, TypeOf<T>(), D};
  return &kernel;
}

}  // namespace

template <class T, int D>
const void* TensorCoreKernelAddress() {
  return Address<T, D, cuda_host::HostKernel::kTensorCore>();
}
template <class T, int D>
const void* WarpgroupKernelAddress() {
  return Address<T, D, cuda_host::HostKernel::kWarpgroup>();
}
template <class T, int D>
const void* PlainKernelAddress() {
  return Address<T, D, cuda_host::HostKernel::kPlain>();
}
template <class T>
const void* MergeKernelAddress() {
  return Address<T, 0, cuda_host::HostKernel::kMerge>();
}

#define G4V_INSTANTIATE(T, D)                           \
  template const void* TensorCoreKernelAddress<T, D>(); \
  template const void* PlainKernelAddress<T, D>()
G4V_INSTANTIATE(float, 32);
G4V_INSTANTIATE(float, 64);
G4V_INSTANTIATE(float, 80);
G4V_INSTANTIATE(float, 96);
G4V_INSTANTIATE(float, 128);
template const void* MergeKernelAddress<float>();
G4V_INSTANTIATE(Half, 32);
G4V_INSTANTIATE(Half, 64);
G4V_INSTANTIATE(Half, 80);
G4V_INSTANTIATE(Half, 96);
G4V_INSTANTIATE(Half, 128);
template const void* MergeKernelAddress<Half>();
G4V_INSTANTIATE(BFloat16, 32);
G4V_INSTANTIATE(BFloat16, 64);
G4V_INSTANTIATE(BFloat16, 80);
G4V_INSTANTIATE(BFloat16, 96);
G4V_INSTANTIATE(BFloat16, 128);
template const void* MergeKernelAddress<BFloat16>();
template const void* WarpgroupKernelAddress<Half, 64>();
template const void* WarpgroupKernelAddress<Half, 128>();
template const void* WarpgroupKernelAddress<BFloat16, 64>();
template const void* WarpgroupKernelAddress<BFloat16, 128>();

}  // namespace g4v::kernels::cuda
