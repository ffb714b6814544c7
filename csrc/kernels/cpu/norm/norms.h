// The small steps between the abstractor's products, each fused to one pass over its rows:
//
//   skip_norm:   s = x + bias + skip,                       out = LayerNorm(s)
//   gated_norm:  h = silu(g + bias_g) * (u + bias_u),       out = LayerNorm(h),   [g | u] = x
//
// silu(z) = z / (1 + exp(-z)); LayerNorm(h) = (h - mean) / sqrt(var + epsilon) * scale + shift over
// a row, the variance that of the whole row (divided by its width). float32 throughout.
#pragma once

#include <cstdint>

#include "kernels/parallel.h"

namespace g4v::kernels {

struct NormParams {
  int64_t rows = 0;
  int64_t width = 0;             // of the normalised rows
  float epsilon = 0.0f;          // above 0
  const float* scale = nullptr;  // [width]
  const float* shift = nullptr;  // [width]
  float* out = nullptr;          // [rows, width]
};

struct SkipNormParams {
  NormParams norm;
  const float* x = nullptr;     // [rows, width]
  const float* skip = nullptr;  // [rows, width]
  const float* bias = nullptr;  // [width]; null: none
  float* sum = nullptr;         // [rows, width]: s
};

struct GatedNormParams {
  NormParams norm;
  const float* x = nullptr;     // [rows, 2 * width]: gates, then what they let through
  const float* bias = nullptr;  // [2 * width]
};

// With the best instructions that the processor has.
void SkipNorm(const SkipNormParams& params, Parallel& parallel);
void GatedNorm(const GatedNormParams& params, Parallel& parallel);

}  // namespace g4v::kernels
