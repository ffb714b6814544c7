// The addresses of the compiled kernels, as the CUDA runtime takes them. instance_*.cu.in become
// one file for each tensor-core kernel and one for each type's others, so that they compile side by
// side.
#pragma once

namespace g4v::kernels::cuda {

// Half, BFloat16; 32, 64, 80, 96, 128.
template <class T, int D>
const void* TensorCoreKernelAddress();

// Half, BFloat16; 64, 128. Machine code for sm_90a alone.
template <class T, int D>
const void* WarpgroupKernelAddress();

// float, Half, BFloat16; 32, 64, 80, 96, 128.
template <class T, int D>
const void* PlainKernelAddress();

// float, Half, BFloat16.
template <class T>
const void* MergeKernelAddress();

}  // namespace g4v::kernels::cuda
