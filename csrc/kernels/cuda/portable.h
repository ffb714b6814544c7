// What lets one source be device code under nvcc and plain C++ under a host compiler.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define G4V_HOST_DEVICE __host__ __device__ __forceinline__
#define G4V_DEVICE __device__ __forceinline__
#define G4V_UNROLL _Pragma("unroll")
#define G4V_PRAGMA(text) _Pragma(#text)
#define G4V_UNROLL_BY(count) G4V_PRAGMA(unroll count)
#else
#define G4V_HOST_DEVICE inline
#define G4V_DEVICE inline
#define G4V_UNROLL
#define G4V_UNROLL_BY(count)
#endif

namespace g4v::kernels::cuda {

constexpr int kWarpSize = 32;

// 16-bit elements as they lie in memory; the arithmetic is in intrinsics.cuh.
struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

}  // namespace g4v::kernels::cuda
