// Cross attention without tensor cores: the kernel for float32 on every GPU, for 16-bit types on
// compute capability 7.5, and for views whose rows are not 16-byte aligned. Also the one to read
// first: the same split and the same formula as tensor_core.cuh, nothing else.
//
// A block has 16 queries, 4 to each of its 4 warps, and goes through its keys 32 at a time. Keys
// and values of a tile are in shared memory as float32. Scores: lane j has key j of the tile, and q
// is read by all lanes at once (a broadcast). Weights: the online softmax over the lanes of the
// warp. Values: lane j has columns j, j + 32, ... of the output, and gets the weights of the keys
// one after the other from the lane that has them.
//
// A score is added up in four parts, every fourth element of the head each: shorter chains, and a
// rounding error of a quarter of the terms.
//
// Shared memory: (16 + 33 + 32) * D floats and a little (41 KiB at D = 128). Keys have rows of
// D + 1 floats, so that 32 lanes reading one column of 32 rows meet no bank twice.
//
// Limits on an H200 (67 TFLOP/s float32), 128 x 2,184 x 16 x 64: 17 us; this kernel reads shared
// memory once for every one to two multiplications and will be several times slower.
#pragma once

#include "kernels/cuda/geometry.h"
#include "kernels/cuda/intrinsics.cuh"
#include "kernels/cuda/output.cuh"

namespace g4v::kernels::cuda {

// Sum and maximum over a warp, the same bits in every lane.
G4V_DEVICE float WarpSum(float value) {
  G4V_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) value += ShuffleXor(value, mask);
  return value;
}
G4V_DEVICE float WarpMax(float value) {
  G4V_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) value = Max(value, ShuffleXor(value, mask));
  return value;
}

template <class T, int D>
G4V_DEVICE void PlainBody(const Launch& launch, unsigned char* shared) {
  constexpr int kColumns = (D + kWarpSize - 1) / kWarpSize;  // of the output, to a lane
  const CrossAttentionParams& p = launch.p;
  const BlockWork work = WorkOfBlock(launch, BlockIndex());
  const KeyRange range = KeysOfSplit(ValidKeys(p, work.batch), launch.splits, work.split);
  const RowList keys = MakeRowList<sizeof(T)>(p.k_own, p.k_mem, p, work);
  const RowList values = MakeRowList<sizeof(T)>(p.v_own, p.v_mem, p, work);
  const int32_t lane = ThreadIndex() % kWarpSize;
  const int32_t warp_row = ThreadIndex() / kWarpSize * kPlainRows;
  const int32_t first_query = work.query_tile * kPlainQueries;
  const int32_t queries = static_cast<int32_t>(p.queries) - first_query;  // may be above 16

  float* shared_q = reinterpret_cast<float*>(shared);  // [16, D]
  float* shared_k = shared_q + kPlainQueries * D;      // [32, D + 1]
  float* shared_v = shared_k + kPlainKeys * (D + 1);   // [32, D]

  const T* q = static_cast<const T*>(p.q.data) + work.batch * p.q.batch + work.head * p.q.head;
  // c s = <c q, k> would round twice per element; c is applied to the finished score.
  const float scale_log2 = p.scale * 1.44269504088896340736f;
  for (int32_t i = ThreadIndex(); i < kPlainQueries * D; i += kPlainThreads) {
    const int32_t row = i / D;
    shared_q[i] = row < queries ? ToFloat(q[(first_query + row) * p.q.row + i % D]) : 0.0f;
  }

  float max[kPlainRows], sum[kPlainRows], out[kPlainRows][kColumns];
  G4V_UNROLL
  for (int r = 0; r < kPlainRows; ++r) {
    max[r] = -INFINITY;
    sum[r] = 0.0f;  // of this lane's keys
    G4V_UNROLL
    for (int c = 0; c < kColumns; ++c) out[r][c] = 0.0f;
  }

  for (int32_t first = range.begin; first < range.end; first += kPlainKeys) {
    const int32_t count = range.end - first < kPlainKeys ? range.end - first : kPlainKeys;
    SyncBlock();  // all are done with the last tile
    for (int32_t i = ThreadIndex(); i < kPlainKeys * D; i += kPlainThreads) {
      const int32_t row = i / D;
      const int32_t column = i % D;
      float k = 0.0f;
      float v = 0.0f;
      if (row < count) {
        k = ToFloat(reinterpret_cast<const T*>(keys.Row(first + row))[column]);
        v = ToFloat(reinterpret_cast<const T*>(values.Row(first + row))[column]);
      }
      shared_k[row * (D + 1) + column] = k;
      shared_v[row * D + column] = v;
    }
    SyncBlock();  // the tile is there for all

    float weight[kPlainRows];
    {
      float parts[kPlainRows][4] = {};
      G4V_UNROLL_BY(4)
      for (int d = 0; d < D; d += 4) {
        float k[4];
        G4V_UNROLL
        for (int part = 0; part < 4; ++part) k[part] = shared_k[lane * (D + 1) + d + part];
        G4V_UNROLL
        for (int r = 0; r < kPlainRows; ++r) {
          const float* row = &shared_q[(warp_row + r) * D + d];
          const FloatQuad four = *reinterpret_cast<const FloatQuad*>(row);
          G4V_UNROLL
          for (int part = 0; part < 4; ++part) {
            parts[r][part] = MultiplyAdd(four.v[part], k[part], parts[r][part]);
          }
        }
      }
      G4V_UNROLL
      for (int r = 0; r < kPlainRows; ++r) {
        const float score = (parts[r][0] + parts[r][1]) + (parts[r][2] + parts[r][3]);
        weight[r] = score * scale_log2;
      }
    }
    G4V_UNROLL
    for (int r = 0; r < kPlainRows; ++r) {
      const float x = lane < count ? weight[r] : -INFINITY;
      const float top = Max(max[r], WarpMax(x));
      const float offset = top == -INFINITY ? 0.0f : top;
      const float shrink = Exp2(max[r] - offset);
      weight[r] = Exp2(x - offset);
      sum[r] = MultiplyAdd(sum[r], shrink, weight[r]);
      max[r] = top;
      G4V_UNROLL
      for (int c = 0; c < kColumns; ++c) out[r][c] *= shrink;
    }
    G4V_UNROLL_BY(4)
    for (int32_t key = 0; key < kPlainKeys; ++key) {
      float v[kColumns];
      G4V_UNROLL
      for (int c = 0; c < kColumns; ++c) {
        const int32_t column = c * kWarpSize + lane;
        v[c] = column < D ? shared_v[key * D + column] : 0.0f;
      }
      G4V_UNROLL
      for (int r = 0; r < kPlainRows; ++r) {
        const float w = Shuffle(weight[r], key);
        G4V_UNROLL
        for (int c = 0; c < kColumns; ++c) out[r][c] = MultiplyAdd(w, v[c], out[r][c]);
      }
    }
  }

  G4V_UNROLL
  for (int r = 0; r < kPlainRows; ++r) {
    const float total = WarpSum(sum[r]);
    if (warp_row + r >= queries) continue;  // the same for the whole warp
    const int32_t query = first_query + warp_row + r;
    const PartialRow partial = PartialRowOf(launch, work.split, work.batch, work.head, query, D);
    const float factor = total > 0.0f || total != total ? 1.0f / total : 0.0f;
    T* to = OutRow<T>(p, work.batch, work.head, query);
    G4V_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      const int32_t column = c * kWarpSize + lane;
      if (column >= D) continue;
      if (launch.splits == 1) {
        FromFloat(out[r][c] * factor, &to[column]);
      } else {
        partial.out[column] = out[r][c];
      }
    }
    if (launch.splits > 1 && lane == 0) StorePair(partial.stats, max[r], total);
  }
}

}  // namespace g4v::kernels::cuda
