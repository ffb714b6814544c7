// Rows first ... last - 1 of the fused steps, for each instruction set in a file of its own.
#pragma once

#include "kernels/cpu/norm/norms.h"
#include "kernels/cpu/simd/targets.h"

namespace g4v::kernels {

void SkipNormRowsPlain(const SkipNormParams& params, int64_t first, int64_t last);
void GatedNormRowsPlain(const GatedNormParams& params, int64_t first, int64_t last);
void SkipNormRowsAvx2(const SkipNormParams& params, int64_t first, int64_t last);
void GatedNormRowsAvx2(const GatedNormParams& params, int64_t first, int64_t last);
void SkipNormRowsAvx512(const SkipNormParams& params, int64_t first, int64_t last);
void GatedNormRowsAvx512(const GatedNormParams& params, int64_t first, int64_t last);

// With the instructions of `version`, which must be available.
void SkipNormCpu(const SkipNormParams& params, Parallel& parallel, CpuVersion version);
void GatedNormCpu(const GatedNormParams& params, Parallel& parallel, CpuVersion version);

}  // namespace g4v::kernels
