// What the tensor-core kernels do with accumulators in registers: the online softmax of the scores,
// and the results' way to memory.
//
// A warp holds 16 query rows. Accumulator i of the 8-column block n of lane l belongs to row
// l / 4 + 8 (i / 2) and column 8 n + 2 (l % 4) + i % 2: so m16n8k16 of mma.sync leaves them, and so
// does each of the four warps of a wgmma, whose 64 rows are 16 of each warp's.
#pragma once

#include "kernels/cuda/intrinsics.cuh"
#include "kernels/cuda/output.cuh"

namespace g4v::kernels::cuda {

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800

// The online softmax of two query rows, those of a thread's accumulators: lane / 4 and 8 below. The
// formula is in tensor_core.cuh.
struct RunningSoftmax {
  float max[2] = {-INFINITY, -INFINITY};   // of the raw scores
  float base[2] = {-INFINITY, -INFINITY};  // c max, the exponent's offset
  float sum[2] = {0.0f, 0.0f};             // of this thread's columns alone, until Finish

  // Turns the scores of a tile into weights and returns in `shrink` what o is to be multiplied by.
  // kLast: only the first `count` columns are keys.
  template <bool kLast, int kBlocks>
  G4V_DEVICE void Update(float (&s)[kBlocks][4], int32_t count, float scale_log2,
                         float (&shrink)[2]) {
    const int32_t left = count - ThreadIndex() % 4 * 2;  // keys from this thread's first column on
    G4V_UNROLL
    for (int half = 0; half < 2; ++half) {
      float top = max[half];
      G4V_UNROLL
      for (int n = 0; n < kBlocks; ++n) {
        G4V_UNROLL
        for (int i = 0; i < 2; ++i) {
          if (!kLast || n * 8 + i < left) top = Max(top, s[n][2 * half + i]);
        }
      }
      top = Max(top, ShuffleXor(top, 1));  // the four lanes of a row
      top = Max(top, ShuffleXor(top, 2));
      // Scores that are all -inf (infinite inputs) must not give inf - inf.
      const float offset = top == -INFINITY ? 0.0f : top * scale_log2;
      shrink[half] = Exp2(base[half] - offset);
      max[half] = top;
      base[half] = offset;
      float added = 0.0f;
      G4V_UNROLL
      for (int n = 0; n < kBlocks; ++n) {
        G4V_UNROLL
        for (int i = 0; i < 2; ++i) {
          float& score = s[n][2 * half + i];
          score = Exp2(MultiplyAdd(score, scale_log2, -offset));
          if (kLast && n * 8 + i >= left) score = 0.0f;
          added += score;
        }
      }
      sum[half] = MultiplyAdd(sum[half], shrink[half], added);
    }
  }

  G4V_DEVICE void Finish() {
    G4V_UNROLL
    for (int half = 0; half < 2; ++half) {
      sum[half] += ShuffleXor(sum[half], 1);
      sum[half] += ShuffleXor(sum[half], 2);
    }
  }
};

// The rows of this warp: o / l, or (c m, l, o) to the workspace where the keys are split. The block
// has `queries` rows from `first_query` on; `softmax` is finished.
template <class T, int D>
G4V_DEVICE void StoreRows(const Launch& launch, const BlockWork& work, int32_t first_query,
                          int32_t queries, const RunningSoftmax& softmax,
                          const float (&o)[D / 8][4]) {
  const int32_t lane = ThreadIndex() % kWarpSize;
  const int32_t column = lane % 4 * 2;
  G4V_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int32_t row = ThreadIndex() / kWarpSize * 16 + lane / 4 + half * 8;
    if (row >= queries) continue;
    const int32_t query = first_query + row;
    const float sum = softmax.sum[half];
    if (launch.splits == 1) {
      const float factor = sum > 0.0f || sum != sum ? 1.0f / sum : 0.0f;
      auto* to = static_cast<T*>(OutRow<T>(launch.p, work.batch, work.head, query));
      G4V_UNROLL
      for (int n = 0; n < D / 8; ++n) {
        const uint32_t pair = PackPair<T>(o[n][2 * half] * factor, o[n][2 * half + 1] * factor);
        *reinterpret_cast<uint32_t*>(to + n * 8 + column) = pair;
      }
    } else {
      const PartialRow to = PartialRowOf(launch, work.split, work.batch, work.head, query, D);
      G4V_UNROLL
      for (int n = 0; n < D / 8; ++n) {
        StorePair(to.out + n * 8 + column, o[n][2 * half], o[n][2 * half + 1]);
      }
      if (column == 0) StorePair(to.stats, softmax.base[half], sum);
    }
  }
}

#endif  // sm_80

}  // namespace g4v::kernels::cuda
