// The attention as its formula reads: the specification that the fast kernels are tested against,
// and what runs on processors that have none of their instructions. It needs no scratch memory.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/attention/rows.h"
#include "kernels/cpu/float16.h"

namespace g4v::kernels {
namespace {

float Load(const char* row, DType dtype, int64_t i) {
  if (dtype == DType::kFloat32) return reinterpret_cast<const float*>(row)[i];
  const uint16_t bits = reinterpret_cast<const uint16_t*>(row)[i];
  return dtype == DType::kFloat16 ? Float16ToFloat(bits) : BFloat16ToFloat(bits);
}

void Store(char* row, DType dtype, int64_t i, float value) {
  if (dtype == DType::kFloat32) {
    reinterpret_cast<float*>(row)[i] = value;
  } else {
    reinterpret_cast<uint16_t*>(row)[i] =
        dtype == DType::kFloat16 ? FloatToFloat16(value) : FloatToBFloat16(value);
  }
}

// One query row. Keys are visited once: a new maximum rescales what was summed before it. The sums
// are double, since here thousands of keys are added one after the other, not in blocks.
void AttendRow(const CrossAttentionParams& p, int64_t b, int64_t h, int64_t query) {
  const char* q = Row(p.q, p.dtype, b, h, query);
  const int64_t keys = p.own_rows + MemoryLength(p, b);
  float maximum = -std::numeric_limits<float>::infinity();
  double total = 0;
  double sum[kLargestHeadSize] = {};
  for (int64_t j = 0; j < keys; ++j) {
    const char* k = KeyRow(p, b, h, j);
    const char* v = ValueRow(p, b, h, j);
    float score = 0;
    for (int64_t d = 0; d < p.head_size; ++d) score += Load(q, p.dtype, d) * Load(k, p.dtype, d);
    score *= p.scale;
    const float above = std::max(maximum, score);
    const float keep = maximum == above ? 1.0f : std::exp(maximum - above);
    const float weight = std::exp(score - above);
    maximum = above;
    total = total * keep + weight;
    for (int64_t d = 0; d < p.head_size; ++d) {
      sum[d] = sum[d] * keep + weight * Load(v, p.dtype, d);
    }
  }
  char* out = Row(p.out, p.dtype, b, h, query);
  for (int64_t d = 0; d < p.head_size; ++d) {
    Store(out, p.dtype, d, keys == 0 ? 0.0f : static_cast<float>(sum[d] / total));
  }
}

struct Call {
  const CrossAttentionParams* params;
};

}  // namespace

void CrossAttentionPlain(const CrossAttentionParams& params, Parallel& parallel) {
  Call call{&params};
  const auto task = [](void* context, int64_t index) {
    const CrossAttentionParams& p = *static_cast<Call*>(context)->params;
    const int64_t query = index % p.queries;
    const int64_t head = index / p.queries;
    AttendRow(p, head / p.heads, head % p.heads, query);
  };
  parallel.Run(params.batch * params.heads * params.queries, task, &call);
}

}  // namespace g4v::kernels
