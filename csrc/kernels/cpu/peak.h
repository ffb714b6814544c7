// The most multiply-adds that the processor does in a second: what kernels are held against.
#pragma once

#include "kernels/cpu/cpu.h"

namespace g4v::kernels {

// FLOP/s (two for each float32 multiply-add) of `threads` threads at once, on registers alone, with
// the widest vectors of `version`. Takes about a fifth of a second.
double MultiplyAddPeak(int threads, CpuVersion version);

}  // namespace g4v::kernels
