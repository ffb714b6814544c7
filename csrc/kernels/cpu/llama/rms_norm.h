// RMSNorm:  out = x / sqrt(mean(x^2) + epsilon) * scale
#pragma once

#include <cstdint>

namespace g4v::kernels {

// Of one row [width], in float32. `out` may be `x`. The same bits on every processor: squares are
// added up in 16 interleaved sums, and those in pairs.
void RmsNorm(const float* x, const float* scale, int64_t width, float epsilon, float* out);

}  // namespace g4v::kernels
