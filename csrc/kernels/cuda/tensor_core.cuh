// Cross attention on tensor cores, for float16 and bfloat16, from compute capability 8.0 on.
//
// The shape it is made for: 128 queries against 128 own keys and 2,056 memory keys, 16 heads of 64,
// batch 1. One block per head would leave most of a GPU idle, so the keys are split as well: block
// (batch, head, query tile, split) takes 128 queries and one range of the key list (split.h) and,
// where there is more than one split, leaves a partial result that merge.cuh puts together.
//
// Maths, per query, over tiles of 64 keys, with c = |scale| log2(e):
//   s = q k^T                    float32 accumulators; a negative scale flips the signs of q
//   m' = max(m, max_j s_j)       the largest score so far, -inf at first
//   a  = 2^(c m - c m')          what earlier tiles shrink by
//   p  = 2^(c s - c m')          rounded to 16 bits for the second product only
//   l  = a l + sum_j p_j
//   o  = a o + p v               float32 accumulators
// at the end o / l, or (c m, l, o) to the workspace. c m is rounded once and the same value is used
// for a, p and the merge, so that its rounding cancels; c s - c m' is one fused multiply-add.
//
// Layout. Eight warps of 16 queries each. A warp keeps its q in registers as fragments of the
// left matrix; the accumulators of s are, two by two, already the left fragments of p v
// (m16n8k16), so p never leaves the registers. Keys and values lie in shared memory as rows of
// 16-byte pieces in the order of SharedPiece, which keeps ldmatrix free of bank conflicts. k is
// read as it lies, v transposed. Three stages of (64 keys, 64 values) are filled by cp.async,
// two tiles ahead of their use; q comes through the last stage before that stage is first needed.
// Shared memory: 3 * 2 * 64 * D * 2 bytes (48 KiB at D = 64, 96 KiB at D = 128).
//
// Edges. Rows behind the end of the keys are filled with zeros and their scores set to -inf; the
// last tile skips groups of 16 keys that are not there. Query rows that are not there are zeros,
// are computed if their warp has any row that is, and are not written. A range without keys
// writes zeros, or m = -inf.
//
// Policy: everything that a block adds, it adds in an order fixed by the shape and the number of
// splits; there are no atomics. The same call gives the same bits.
//
// Limits on an H200 (989 TFLOP/s bfloat16 dense, 4.8 TB/s), at the shape above: 4 * 128 * 2,184 *
// 64 * 16 = 1.15 GFLOP, 1.2 us; keys and values 8.9 MB, 1.9 us from memory and less from the L2
// cache, where the product that made them has left them; partial results of 8 splits 4.3 MB,
// written and read in the L2 cache. mma.sync reaches about two thirds of the quoted rate on this
// GPU. A launch costs 2 to 3 us, so that launches and the pipeline's start, not these limits, set
// the time.
#pragma once

#include "kernels/cuda/accumulators.cuh"
#include "kernels/cuda/geometry.h"
#include "kernels/cuda/intrinsics.cuh"
#include "kernels/cuda/split.h"

namespace g4v::kernels::cuda {

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800

template <class T, int D>
struct TensorCoreBlock {
  static constexpr int kPieces = D / 8;                       // 16-byte pieces of a row
  static constexpr int kTileBytes = kTensorCoreKeys * D * 2;  // one tile of keys, or of values
  static constexpr int kSteps = D / 16;                       // matrix steps along the head
  static constexpr int kScoreBlocks = kTensorCoreKeys / 8;    // 16x8 accumulators of s
  static constexpr int kOutBlocks = D / 8;                    // 16x8 accumulators of o

  const Launch& launch;
  BlockWork work;
  KeyRange range;
  int32_t tiles;
  int32_t first_query;
  int32_t queries;  // of this block that exist: 1 .. 128
  RowList keys, values;
  unsigned char* shared;
  float scale_log2;
  uint32_t flip;  // sign bits of a pair of q's elements

  uint32_t q[kSteps][4];
  float o[kOutBlocks][4];
  RunningSoftmax softmax;

  G4V_DEVICE TensorCoreBlock(const Launch& the_launch, unsigned char* shared_bytes)
      : launch(the_launch), shared(shared_bytes) {
    const CrossAttentionParams& p = launch.p;
    work = WorkOfBlock(launch, BlockIndex());
    range = KeysOfSplit(ValidKeys(p, work.batch), launch.splits, work.split);
    tiles = (range.end - range.begin + kTensorCoreKeys - 1) / kTensorCoreKeys;
    first_query = work.query_tile * kTensorCoreQueries;
    const int32_t left = static_cast<int32_t>(p.queries) - first_query;
    queries = left < kTensorCoreQueries ? left : kTensorCoreQueries;
    keys = MakeRowList<2>(p.k_own, p.k_mem, p, work);
    values = MakeRowList<2>(p.v_own, p.v_mem, p, work);
    scale_log2 = (p.scale < 0.0f ? -p.scale : p.scale) * 1.44269504088896340736f;
    flip = p.scale < 0.0f ? 0x80008000u : 0u;
    G4V_UNROLL
    for (int n = 0; n < kOutBlocks; ++n) {
      o[n][0] = o[n][1] = o[n][2] = o[n][3] = 0.0f;
    }
  }

  G4V_DEVICE unsigned char* KeyTile(int32_t tile) const {
    return shared + tile % kTensorCoreStages * 2 * kTileBytes;
  }
  G4V_DEVICE unsigned char* ValueTile(int32_t tile) const { return KeyTile(tile) + kTileBytes; }

  // `Source` gives the address of row 0 .. rows - 1; rows from `valid` (at least 1) on are zeros.
  template <int kRows, class Source>
  G4V_DEVICE static void CopyRows(unsigned char* to, int32_t valid, const Source& row_address) {
    G4V_UNROLL
    for (int first = 0; first < kRows * kPieces; first += kTensorCoreThreads) {
      const int32_t index = first + ThreadIndex();
      if (kRows * kPieces % kTensorCoreThreads != 0 && index >= kRows * kPieces) break;
      const int32_t row = index / kPieces;
      const int32_t piece = index % kPieces;
      const unsigned char* from = row_address(row < valid ? row : valid - 1) + piece * 16;
      CopyAsync16(to + SharedPiece<kPieces>(row, piece) * 16, from, row < valid);
    }
  }

  G4V_DEVICE void CopyTile(const RowList& rows, int32_t tile, unsigned char* to) const {
    const int32_t first = range.begin + tile * kTensorCoreKeys;
    CopyRows<kTensorCoreKeys>(to, range.end - first,
                              [&](int32_t row) { return rows.Row(first + row); });
  }

  // Always two groups, so that WaitForCopies can count tiles; empty ones behind the last tile.
  G4V_DEVICE void StartTile(int32_t tile) const {
    if (tile < tiles) CopyTile(keys, tile, KeyTile(tile));
    CommitCopies();
    if (tile < tiles) CopyTile(values, tile, ValueTile(tile));
    CommitCopies();
  }

  // Through the last stage, which no tile needs before StartTile(kTensorCoreStages - 1). Copied
  // with the first tile's keys.
  G4V_DEVICE void StartQueries() const {
    const CrossAttentionParams& p = launch.p;
    const auto* base = static_cast<const unsigned char*>(p.q.data) +
                       (work.batch * p.q.batch + work.head * p.q.head) * 2;
    CopyRows<kTensorCoreQueries>(KeyTile(kTensorCoreStages - 1), queries, [&](int32_t row) {
      return base + (first_query + row) * p.q.row * 2;
    });
  }

  // For the left matrix, and for v read transposed: matrices 0 and 1 lie below each other, 2 and
  // 3 to their right.
  G4V_DEVICE static const unsigned char* DownThenRight(const unsigned char* tile, int32_t row,
                                                       int32_t piece) {
    const int32_t lane = ThreadIndex() % kWarpSize;
    return tile + SharedPiece<kPieces>(row + lane % 8 + lane / 8 % 2 * 8, piece + lane / 16) * 16;
  }
  // For k: matrices 0 and 1 side by side, 2 and 3 below.
  G4V_DEVICE static const unsigned char* RightThenDown(const unsigned char* tile, int32_t row,
                                                       int32_t piece) {
    const int32_t lane = ThreadIndex() % kWarpSize;
    return tile + SharedPiece<kPieces>(row + lane % 8 + lane / 16 * 8, piece + lane / 8 % 2) * 16;
  }

  G4V_DEVICE void LoadQueries(int32_t warp) {
    const unsigned char* tile = KeyTile(kTensorCoreStages - 1);
    G4V_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      LoadMatrices(q[step], DownThenRight(tile, warp * 16, step * 2));
      G4V_UNROLL
      for (int i = 0; i < 4; ++i) q[step][i] ^= flip;
    }
  }

  // kLast: the tile holds fewer than 64 keys, `count` of them.
  template <bool kLast>
  G4V_DEVICE void Scores(int32_t tile, int32_t count, float (&s)[kScoreBlocks][4]) const {
    const unsigned char* keys_tile = KeyTile(tile);
    G4V_UNROLL
    for (int n = 0; n < kScoreBlocks; ++n) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0.0f;
    G4V_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      G4V_UNROLL
      for (int n = 0; n < kScoreBlocks; n += 2) {
        if (kLast && n * 8 >= count) continue;
        uint32_t k[4];
        LoadMatrices(k, RightThenDown(keys_tile, n * 8, step * 2));
        MatrixMultiplyAdd<T>(s[n], q[step], k[0], k[1]);
        MatrixMultiplyAdd<T>(s[n + 1], q[step], k[2], k[3]);
      }
    }
  }

  template <bool kLast>
  G4V_DEVICE void AddValues(int32_t tile, int32_t count, const float (&p)[kScoreBlocks][4],
                            const float (&shrink)[2]) {
    const unsigned char* values_tile = ValueTile(tile);
    G4V_UNROLL
    for (int n = 0; n < kOutBlocks; ++n) {
      G4V_UNROLL
      for (int i = 0; i < 4; ++i) o[n][i] *= shrink[i / 2];
    }
    G4V_UNROLL
    for (int n = 0; n < kScoreBlocks; n += 2) {
      if (kLast && n * 8 >= count) continue;
      const uint32_t weights[4] = {PackPair<T>(p[n][0], p[n][1]), PackPair<T>(p[n][2], p[n][3]),
                                   PackPair<T>(p[n + 1][0], p[n + 1][1]),
                                   PackPair<T>(p[n + 1][2], p[n + 1][3])};
      G4V_UNROLL
      for (int column = 0; column < kOutBlocks; column += 2) {
        uint32_t v[4];
        LoadMatricesTransposed(v, DownThenRight(values_tile, n * 8, column));
        MatrixMultiplyAdd<T>(o[column], weights, v[0], v[1]);
        MatrixMultiplyAdd<T>(o[column + 1], weights, v[2], v[3]);
      }
    }
  }

  template <bool kLast>
  G4V_DEVICE void Tile(int32_t tile, bool has_queries) {
    constexpr int kAhead = kTensorCoreStages - 1;
    if (tile > 0) {
      // Groups newer than this tile's values: the tiles between it and the one started below.
      WaitForCopies<2 * (kAhead - 1)>();
      SyncBlock();  // this tile has arrived for all; all are done with the stage that is refilled
    }
    StartTile(tile + kAhead);
    const int32_t count = range.end - range.begin - tile * kTensorCoreKeys;
    float s[kScoreBlocks][4];
    float shrink[2];
    if (has_queries) {
      Scores<kLast>(tile, count, s);
      softmax.template Update<kLast>(s, count, scale_log2, shrink);
    }
    if (tile == 0) {  // the first values are waited for apart, so that its scores start earlier
      WaitForCopies<2 * kAhead>();
      SyncBlock();
    }
    if (has_queries) AddValues<kLast>(tile, count, s, shrink);
  }

  G4V_DEVICE void Run() {
    const int32_t warp = ThreadIndex() / kWarpSize;
    const bool has_queries = warp * 16 < queries;
    if (tiles > 0) {
      constexpr int kAhead = kTensorCoreStages - 1;
      StartQueries();
      for (int32_t tile = 0; tile < kAhead; ++tile) StartTile(tile);
      WaitForCopies<2 * kAhead - 1>();  // q and the first keys; not yet the first values
      SyncBlock();
      if (has_queries) LoadQueries(warp);
      SyncBlock();  // the stage that held q may be filled
      const int32_t full = (range.end - range.begin) / kTensorCoreKeys;
      for (int32_t tile = 0; tile < full; ++tile) Tile<false>(tile, has_queries);
      if (full < tiles) Tile<true>(full, has_queries);
    }
    if (has_queries) {
      softmax.Finish();
      StoreRows<T, D>(launch, work, first_query, queries, softmax, o);
    }
  }
};

#endif  // sm_80

}  // namespace g4v::kernels::cuda
