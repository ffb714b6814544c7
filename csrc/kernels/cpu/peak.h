// The most multiply-adds that the processor does in a second: what kernels are held against.
#pragma once

#include "kernels/cpu/cpu.h"

namespace g4v::kernels {

// FLOP/s (two for each multiply-add) of `threads` threads at once, on registers alone: of float32
// with the widest vectors of `version`, or of bfloat16 as `version` computes it, in tiles or as
// float32. Takes about a fifth of a second.
double MultiplyAddPeak(int threads, CpuVersion version, DType dtype);

}  // namespace g4v::kernels
