// Where results go, the same for all kernels.
#pragma once

#include "kernels/cuda/split.h"

namespace g4v::kernels::cuda {

template <class T>
G4V_DEVICE T* OutRow(const CrossAttentionParams& p, int32_t batch, int32_t head, int32_t query) {
  return static_cast<T*>(p.out.data) + batch * p.out.batch + head * p.out.head + query * p.out.row;
}

struct PartialRow {
  float* out;    // [D]
  float* stats;  // [2]
};

G4V_DEVICE PartialRow PartialRowOf(const Launch& launch, int32_t split, int32_t batch, int32_t head,
                                   int32_t query, int32_t head_size) {
  const CrossAttentionParams& p = launch.p;
  const int64_t row =
      ((split * p.batch + batch) * p.heads + head) * p.queries + query;  // int64 throughout
  return {launch.partial_out + row * head_size, launch.partial_stats + row * 2};
}

struct alignas(8) FloatPair {
  float first, second;
};
struct alignas(16) FloatQuad {
  float v[4];
};

// `to` is a multiple of 8 bytes.
G4V_DEVICE void StorePair(float* to, float first, float second) {
  *reinterpret_cast<FloatPair*>(to) = {first, second};
}

}  // namespace g4v::kernels::cuda
