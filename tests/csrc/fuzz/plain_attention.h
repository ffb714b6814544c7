// What the operator CrossAttention gives, from its definition (ort/custom_ops.h).
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "fake_session.h"

namespace g4v::fuzz {

// The largest difference from the formula in double precision.
inline double Difference(const OrtKernelInfo& info, const OrtKernelContext& context) {
  const OrtValue &q = context.inputs[0], &m = context.inputs[1], &out = context.outputs.at(0);
  const int64_t queries = q.shape[1], width = q.shape[2] / 3, rows = m.shape[1],
                heads = info.integers.at("num_heads");
  const int64_t size = width / heads;
  double worst = 0;
  for (int64_t i = 0; i < q.shape[0] * queries * heads; ++i) {
    const int64_t b = i / (queries * heads), row = i / heads % queries, head = i % heads;
    const auto own = [&](int64_t r, int64_t part) {
      return &q.data[static_cast<size_t>((b * queries + r) * 3 * width + part * width +
                                         head * size)];
    };
    const auto kept = [&](int64_t r, const char* part) {
      return &m.data[static_cast<size_t>((b * rows + r) * m.shape[2] + info.integers.at(part) +
                                         head * size)];
    };
    std::vector<double> sum(static_cast<size_t>(size));
    double total = 0;
    for (int64_t r = 0; r < queries + rows; ++r) {
      const float* const key = r < queries ? own(r, 1) : kept(r - queries, "key_column");
      const float* const value = r < queries ? own(r, 2) : kept(r - queries, "value_column");
      double score = 0;
      for (int64_t d = 0; d < size; ++d) score += static_cast<double>(own(row, 0)[d]) * key[d];
      const double weight = std::exp(score / std::sqrt(static_cast<double>(size)));
      total += weight;
      for (int64_t d = 0; d < size; ++d) sum[static_cast<size_t>(d)] += weight * value[d];
    }
    for (int64_t d = 0; d < size; ++d) {
      const float found =
          out.data[static_cast<size_t>((b * queries + row) * width + head * size + d)];
      worst = std::max(worst, std::fabs(found - sum[static_cast<size_t>(d)] / total));
    }
  }
  return worst;
}

}  // namespace g4v::fuzz
