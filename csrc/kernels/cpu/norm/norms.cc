#include "kernels/cpu/norm/norms.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/norm/norms_targets.h"

namespace g4v::kernels {
namespace {

constexpr int64_t kLeastRows = 8;  // fewer are done before another thread has woken up

void NormaliseRow(const NormParams& p, const float* values, float* out) {
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

// rows(first, last), cut in as many pieces as there are threads.
template <class Rows>
void InPieces(int64_t count, Parallel& parallel, const Rows& rows) {
  struct Call {
    const Rows& rows;
    int64_t count;
    int64_t pieces;
  };
  const int64_t most = std::max<int64_t>(1, count / kLeastRows);
  const Call call{rows, count, std::min<int64_t>(parallel.threads(), most)};
  if (call.pieces <= 1) return rows(0, count);
  const auto task = [](void* context, int64_t index) {
    const Call& c = *static_cast<const Call*>(context);
    c.rows(c.count * index / c.pieces, c.count * (index + 1) / c.pieces);
  };
  parallel.Run(call.pieces, task, const_cast<Call*>(&call));
}

}  // namespace

void SkipNormRowsPlain(const SkipNormParams& p, int64_t first, int64_t last) {
  const int64_t width = p.norm.width;
  for (int64_t row = first; row < last; ++row) {
    float* const sum = p.sum + row * width;
    for (int64_t i = 0; i < width; ++i) {
      sum[i] = p.x[row * width + i] + p.skip[row * width + i] + (p.bias ? p.bias[i] : 0.0f);
    }
    NormaliseRow(p.norm, sum, p.norm.out + row * width);
  }
}

void GatedNormRowsPlain(const GatedNormParams& p, int64_t first, int64_t last) {
  const int64_t width = p.norm.width;
  for (int64_t row = first; row < last; ++row) {
    const float* const gate = p.x + 2 * row * width;
    float* const out = p.norm.out + row * width;
    for (int64_t i = 0; i < width; ++i) {
      const double z = gate[i] + p.bias[i];
      const double u = gate[width + i] + p.bias[width + i];
      out[i] = static_cast<float>(z / (1.0 + std::exp(-z)) * u);
    }
    NormaliseRow(p.norm, out, out);
  }
}

void SkipNormCpu(const SkipNormParams& params, Parallel& parallel, CpuVersion version) {
  auto* rows = &SkipNormRowsPlain;
#ifdef G4V_X86
  if (version >= CpuVersion::kAvx2) rows = &SkipNormRowsAvx2;
  if (version >= CpuVersion::kAvx512) rows = &SkipNormRowsAvx512;
#else
  (void)version;
#endif
  InPieces(params.norm.rows, parallel,
           [&](int64_t first, int64_t last) { rows(params, first, last); });
}

void GatedNormCpu(const GatedNormParams& params, Parallel& parallel, CpuVersion version) {
  auto* rows = &GatedNormRowsPlain;
#ifdef G4V_X86
  if (version >= CpuVersion::kAvx2) rows = &GatedNormRowsAvx2;
  if (version >= CpuVersion::kAvx512) rows = &GatedNormRowsAvx512;
#else
  (void)version;
#endif
  InPieces(params.norm.rows, parallel,
           [&](int64_t first, int64_t last) { rows(params, first, last); });
}

void SkipNorm(const SkipNormParams& params, Parallel& parallel) {
  SkipNormCpu(params, parallel, BestCpuVersion());
}

void GatedNorm(const GatedNormParams& params, Parallel& parallel) {
  GatedNormCpu(params, parallel, BestCpuVersion());
}

}  // namespace g4v::kernels
