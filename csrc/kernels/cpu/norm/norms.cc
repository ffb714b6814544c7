// The vector kernels, compiled for each instruction set, the formulas as they read, and the choice
// among them.
#include "kernels/cpu/norm/norms.h"

#include <algorithm>
#include <cmath>

#define G4V_KERNEL_FILE "kernels/cpu/norm/norms_simd.h"
#include "kernels/cpu/simd/for_each_target.h"

namespace g4v::kernels {

// The specification that the vector kernels are tested against. Each handles rows first ... last -
// 1.
namespace plain {

void LayerNormRow(const LayerNormParams& p, const float* values, float* out) {
  double sum = 0.0;
  for (int64_t i = 0; i < p.width; ++i) sum += values[i];
  const double mean = sum / static_cast<double>(p.width);
  double squares = 0.0;
  for (int64_t i = 0; i < p.width; ++i) squares += (values[i] - mean) * (values[i] - mean);
  const double factor = 1.0 / std::sqrt(squares / static_cast<double>(p.width) + p.epsilon);
  for (int64_t i = 0; i < p.width; ++i) {
    out[i] = static_cast<float>((values[i] - mean) * factor * p.scale[i] + p.shift[i]);
  }
}

void SkipLayerNormRows(const SkipLayerNormParams& p, int64_t first, int64_t last) {
  const int64_t width = p.norm.width;
  for (int64_t row = first; row < last; ++row) {
    float* const sum = p.sum + row * width;
    for (int64_t i = 0; i < width; ++i) {
      sum[i] = p.x[row * width + i] + p.skip[row * width + i] + (p.bias ? p.bias[i] : 0.0f);
    }
    LayerNormRow(p.norm, sum, p.norm.out + row * width);
  }
}

void GatedLayerNormRows(const GatedLayerNormParams& p, int64_t first, int64_t last) {
  const int64_t width = p.norm.width;
  for (int64_t row = first; row < last; ++row) {
    const float* const gate = p.x + 2 * row * width;
    float* const out = p.norm.out + row * width;
    for (int64_t i = 0; i < width; ++i) {
      const double z = gate[i] + p.bias[i];
      const double u = gate[width + i] + p.bias[width + i];
      out[i] = static_cast<float>(z / (1.0 + std::exp(-z)) * u);
    }
    LayerNormRow(p.norm, out, out);
  }
}

}  // namespace plain

namespace {

constexpr int64_t kLeastRows = 8;  // fewer are done before another thread has woken up

// Calls rows(params, first, last) for as many ranges of the rows as there are threads.
template <class Params>
void ForRows(const Params& params, Parallel& parallel,
             void (*rows)(const Params& params, int64_t first, int64_t last)) {
  struct Call {
    const Params& params;
    void (*rows)(const Params&, int64_t, int64_t);
    int64_t ranges;
  };
  const int64_t count = params.norm.rows;
  const int64_t most = std::max<int64_t>(1, count / kLeastRows);
  Call call{params, rows, std::min<int64_t>(parallel.threads(), most)};
  if (call.ranges <= 1) return rows(params, 0, count);
  const auto task = [](void* context, int64_t index) {
    const Call& c = *static_cast<const Call*>(context);
    const int64_t all = c.params.norm.rows;
    c.rows(c.params, all * index / c.ranges, all * (index + 1) / c.ranges);
  };
  parallel.Run(call.ranges, task, &call);
}

}  // namespace

void SkipLayerNorm(const SkipLayerNormParams& params, Parallel& parallel, Isa isa) {
  ForRows(params, parallel, G4V_DISPATCH(isa, SkipLayerNormRows));
}

void GatedLayerNorm(const GatedLayerNormParams& params, Parallel& parallel, Isa isa) {
  ForRows(params, parallel, G4V_DISPATCH(isa, GatedLayerNormRows));
}

}  // namespace g4v::kernels
