// The highest rate of multiply-adds that the processor reaches: the roof that kernels are measured
// against (a roofline).
#pragma once

#include "kernels/cpu/dispatch.h"
#include "kernels/cross_attention.h"

namespace g4v::kernels {

// FLOP/s (two for each multiply-add) of `threads` threads at once, on registers alone: of float32
// with the widest vectors of `isa`, or of bfloat16 as `isa` computes it, which is on AMX or as
// float32. Takes about a fifth of a second.
double MultiplyAddPeak(int threads, Isa isa, DType dtype);

}  // namespace g4v::kernels
