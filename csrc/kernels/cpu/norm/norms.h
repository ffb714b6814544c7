// The normalisations of the abstractor's layers, each fused with what comes before it to one pass
// over its rows:
//
//   SkipLayerNorm:   s = x + bias + skip,                      out = LayerNorm(s)
//   GatedLayerNorm:  h = silu(g + bias_g) * (u + bias_u),      out = LayerNorm(h),   [g | u] = x
//
//   silu(z) = z / (1 + exp(-z))
//   LayerNorm(h) = (h - mean(h)) / sqrt(var(h) + epsilon) * scale + shift
//
// mean and var are those of a row; var is divided by its width. float32 throughout. GatedLayerNorm
// is SwiGLU with its inner LayerNorm. In exported graphs the operators are named SkipNorm and
// GatedNorm: those names are part of the bundle format.
#pragma once

#include <cstdint>

#include "kernels/cpu/dispatch.h"
#include "kernels/parallel.h"

namespace g4v::kernels {

struct LayerNormParams {
  int64_t rows = 0;
  int64_t width = 0;             // of the normalised rows
  float epsilon = 0.0f;          // above 0
  const float* scale = nullptr;  // [width]
  const float* shift = nullptr;  // [width]
  float* out = nullptr;          // [rows, width]
};

struct SkipLayerNormParams {
  LayerNormParams norm;
  const float* x = nullptr;     // [rows, width]
  const float* skip = nullptr;  // [rows, width]
  const float* bias = nullptr;  // [width]; null: none
  float* sum = nullptr;         // [rows, width]: s
};

struct GatedLayerNormParams {
  LayerNormParams norm;
  const float* x = nullptr;     // [rows, 2 * width]: g, then u
  const float* bias = nullptr;  // [2 * width]: bias_g, then bias_u
};

// `isa` must be available. There are vectors of AVX2 and AVX-512; AMX takes those of AVX-512.
void SkipLayerNorm(const SkipLayerNormParams& params, Parallel& parallel, Isa isa = ChosenIsa());
void GatedLayerNorm(const GatedLayerNormParams& params, Parallel& parallel, Isa isa = ChosenIsa());

}  // namespace g4v::kernels
