// The kernels of csrc/kernels/cuda as functions that run on the CPU.
#pragma once

#include "cuda_host/simulator.h"
#include "kernels/cuda/split.h"

namespace g4v::cuda_host {

struct HostKernel {
  enum Kind { kPlain, kTensorCore, kWarpgroup, kMerge } kind;
  kernels::DType dtype;
  int64_t head_size;  // 0 for a merge, which serves all
};

// What a thread of `kernel` does, launched with `launch` (which must outlive the body).
Body BodyOf(const HostKernel& kernel, const kernels::cuda::Launch& launch);

}  // namespace g4v::cuda_host
