// Merges the partial results of the splits.
//
// Split s left, per query, m_s (the exponent's offset, in units of log2), l_s = sum_j 2^(x_j - m_s)
// and o_s = sum_j 2^(x_j - m_s) v_j. With M = max_s m_s and w_s = 2^(m_s - M), the result is
//   sum_s w_s o_s / sum_s w_s l_s,
// added in the order of s whatever order the blocks ran in. A split without keys has m_s = -inf and
// l_s = 0; a query without keys gives zeros.
//
// Four elements of a row to a thread; a thread reads 16 bytes of each split and writes once.
#pragma once

#include "kernels/cuda/geometry.h"
#include "kernels/cuda/intrinsics.cuh"
#include "kernels/cuda/output.cuh"

namespace g4v::kernels::cuda {

template <class T>
G4V_DEVICE void MergeBody(const Launch& launch) {
  const CrossAttentionParams& p = launch.p;
  const auto head_size = static_cast<int32_t>(p.head_size);
  const int64_t rows = p.batch * p.heads * p.queries;
  const int32_t threads_per_row = head_size / kMergeElements;
  const int64_t index = static_cast<int64_t>(BlockIndex()) * kMergeThreads + ThreadIndex();
  const int64_t row = index / threads_per_row;
  if (row >= rows) return;
  const auto column = static_cast<int32_t>(index % threads_per_row) * kMergeElements;

  const auto* stats = reinterpret_cast<const FloatPair*>(launch.partial_stats) + row;
  float top = -INFINITY;
  for (int32_t split = 0; split < launch.splits; ++split) {
    top = Max(top, stats[split * rows].first);
  }
  float sum = 0.0f;
  float out[kMergeElements] = {};
  const float* partial = launch.partial_out + row * head_size + column;
  G4V_UNROLL_BY(4)
  for (int32_t split = 0; split < launch.splits; ++split) {
    const FloatPair stat = stats[split * rows];
    const FloatQuad part = *reinterpret_cast<const FloatQuad*>(partial + split * rows * head_size);
    const bool empty = stat.first == -INFINITY;
    const float weight = empty ? 0.0f : Exp2(stat.first - top);
    sum = MultiplyAdd(weight, stat.second, sum);
    G4V_UNROLL
    for (int i = 0; i < kMergeElements; ++i) {
      // An empty split's part was written as zeros where it was written at all.
      out[i] = MultiplyAdd(weight, empty ? 0.0f : part.v[i], out[i]);
    }
  }
  const float factor = sum > 0.0f || sum != sum ? 1.0f / sum : 0.0f;

  const auto query = static_cast<int32_t>(row % p.queries);
  const int64_t batch_head = row / p.queries;
  T* to = OutRow<T>(p, static_cast<int32_t>(batch_head / p.heads),
                    static_cast<int32_t>(batch_head % p.heads), query) +
          column;
  struct alignas(kMergeElements * sizeof(T)) Pack {
    T v[kMergeElements];
  } pack;
  G4V_UNROLL
  for (int i = 0; i < kMergeElements; ++i) FromFloat(out[i] * factor, &pack.v[i]);
  if (reinterpret_cast<uintptr_t>(to) % sizeof(Pack) == 0) {
    *reinterpret_cast<Pack*>(to) = pack;
  } else {
    G4V_UNROLL
    for (int i = 0; i < kMergeElements; ++i) to[i] = pack.v[i];
  }
}

}  // namespace g4v::kernels::cuda
