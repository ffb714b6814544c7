// Cross attention by warpgroup products (wgmma), for float16 and bfloat16 with heads of 64 or 128,
// on compute capability 9.0 alone. NEVER RUN ON A GPU SO FAR: it compiles without spills and is
// right in the simulator of tests/csrc/cuda_host, and plan.cc does not choose it. plan.h says how
// it is asked for.
//
// Blocks, splits, maths, partial results and their merge are those of tensor_core.cuh. What differs
// is a block's inside.
//
// Layout. Two warpgroups of 64 queries each. q goes straight from memory to registers, as
// fragments of the left matrix. The accumulators of s are, two by two, already the left fragments
// of p v, so that p never leaves the registers either. Both products thus take their left matrix
// from registers: from shared memory, m64n64k16 would read 2 KiB + 2 KiB in the 32 cycles that it
// computes, which is all that shared memory gives (128 bytes a cycle). Keys and values lie in
// shared memory as matrix_layout.h says, keys K-major, values MN-major; four stages.
//
// Keys come in tiles of 64, of which the FIRST is the short one, in groups of 16: the pipeline
// starts with the fewest bytes to wait for, and every later tile is whole and needs no mask. At 8
// frames and 8 splits a block has 272 or 288 keys: 4 tiles and a quarter or a half.
//
// Order. While the values of tile j are added, the scores of tile j + 1 are already there and are
// turned into weights:
//   s = q k[j+1]^T started; o += p v[j] started; wait for s; softmax of s; wait for o;
//   o *= shrink; p = s in 16 bits
// The two warpgroups meet once a tile, where the copies of (v[j], k[j+1]) have arrived and the
// stage before may be filled again.
//
// Why cp.async and not TMA. The bytes are the same; what TMA saves is instructions. A thread issues
// about 340 for a whole tile at D = 64 (SASS of CUDA 13.0), of which its 4 copies take about 50: a
// TMA tile would take two of one thread. At 8 frames that is little, because 7 of the 10 half
// tiles of a block are started before the first has arrived, when nothing else can be done. TMA
// costs tensor maps made on the host in every call, and a second way for tiles that hold own and
// memory rows, for the short tile (rows behind mem_len may hold NaNs, and 0 NaN is NaN: they must
// be zeros in shared memory) and for negative strides. Bulk copies without a tensor map cannot
// swizzle. Where a GPU shows that long memories are bound by instructions, TMA for whole tiles of
// the memory is the next thing to try.
//
// cp.async writes by the generic proxy and wgmma reads by the async proxy: each thread fences
// between its wait for its copies and the barrier.
//
// Limits: as in tensor_core.cuh for bytes and operations. For a tile, D = 64, a multiprocessor
// needs 512 cycles of its tensor cores for the two products, 512 for 8,192 exponentials at 16 a
// cycle, and about 680 to issue 340 instructions of 8 warps on 4 schedulers (mma.sync's kernel:
// about 470, 940 cycles): instructions, not products, are what a tile is bound by.
#pragma once

#include "kernels/cuda/accumulators.cuh"
#include "kernels/cuda/geometry.h"
#include "kernels/cuda/matrix_layout.h"
#include "kernels/cuda/split.h"
#include "kernels/cuda/wgmma.cuh"

namespace g4v::kernels::cuda {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

template <class T, int D>
struct WarpgroupBlock {
  static_assert(D % 64 == 0, "rows are stored in column blocks of 64");
  static constexpr int kKeys = kWarpgroupKeys;         // of a tile
  static constexpr int kPieces = D / 8;                // 16-byte pieces of a row
  static constexpr int kTileBytes = kKeys * D * 2;     // one tile of keys, or of values
  static constexpr int kAhead = kWarpgroupStages - 1;  // tiles of values under way
  static constexpr int kQuerySteps = D / 16;           // products along the head
  static constexpr int kKeySteps = kKeys / 16;         // products along a tile's keys

  const Launch& launch;
  BlockWork work;
  KeyRange range;
  int32_t tiles;
  int32_t first_keys;  // of tile 0: 1 .. 64
  int32_t first_query;
  int32_t queries;  // of this block that exist: 1 .. 128
  RowList keys, values;
  int64_t next_keys, next_values;  // CopyTile's, addresses
  unsigned char* shared;
  float scale_log2;
  uint64_t key_descriptor, value_descriptor;  // of the first stage

  uint32_t q[kQuerySteps][4];
  uint32_t p[kKeySteps][4] = {};  // weights of a tile, left fragments
  float o[D / 8][4] = {};
  RunningSoftmax softmax;

  // `shared_bytes` is WarpgroupSharedBytes(D) bytes, at a multiple of kPatternBytes.
  G4V_DEVICE WarpgroupBlock(const Launch& the_launch, unsigned char* shared_bytes)
      : launch(the_launch), shared(shared_bytes) {
    const CrossAttentionParams& params = launch.p;
    work = WorkOfBlock(launch, BlockIndex());
    range = KeysOfSplit(ValidKeys(params, work.batch), launch.splits, work.split);
    const int32_t count = range.end - range.begin;
    tiles = (count + kKeys - 1) / kKeys;
    first_keys = count - (tiles - 1) * kKeys;
    first_query = work.query_tile * kWarpgroupQueries;
    const int32_t left = static_cast<int32_t>(params.queries) - first_query;
    queries = left < kWarpgroupQueries ? left : kWarpgroupQueries;
    keys = MakeRowList<2>(params.k_own, params.k_mem, params, work);
    values = MakeRowList<2>(params.v_own, params.v_mem, params, work);
    next_keys = FirstOfMemory(keys);
    next_values = FirstOfMemory(values);
    scale_log2 = (params.scale < 0.0f ? -params.scale : params.scale) * 1.44269504088896340736f;
    key_descriptor = KeysDescriptor(SharedAddress(shared));
    value_descriptor = ValuesDescriptor<kKeys>(SharedAddress(shared) + kTileBytes);
  }

  G4V_DEVICE static int32_t StageBytes(int32_t tile) {
    return tile % kWarpgroupStages * 2 * kTileBytes;
  }
  G4V_DEVICE unsigned char* KeyTile(int32_t tile) const { return shared + StageBytes(tile); }
  G4V_DEVICE unsigned char* ValueTile(int32_t tile) const { return KeyTile(tile) + kTileBytes; }

  // Where this thread's first piece of tile 1 would be, were all its rows the memory's.
  G4V_DEVICE int64_t FirstOfMemory(const RowList& rows) const {
    const int64_t row = range.begin + first_keys + ThreadIndex() / kPieces - rows.own_rows;
    return static_cast<int64_t>(reinterpret_cast<uintptr_t>(rows.memory)) +
           row * rows.memory_stride + ThreadIndex() % kPieces * 16;
  }

  // A thread copies one piece of every kRowsAtOnce-th row. Tiles are copied in order; `next` is
  // FirstOfMemory, moved on by every tile but the first.
  G4V_DEVICE void CopyTile(const RowList& rows, int32_t tile, unsigned char* to, int64_t* next) {
    constexpr int kRowsAtOnce = kWarpgroupThreads / kPieces;
    static_assert(kRowsAtOnce % 8 == 0, "the swizzle is the same for all rows of a thread");
    const int32_t row = ThreadIndex() / kPieces;
    const int32_t piece = ThreadIndex() % kPieces;
    to += SwizzledOffset<kKeys>(row, piece);
    const int32_t first = range.begin + (tile == 0 ? 0 : first_keys + (tile - 1) * kKeys);
    if (tile > 0 && first >= rows.own_rows) {  // most tiles: whole, and of the memory alone
      G4V_UNROLL
      for (int i = 0; i < kKeys; i += kRowsAtOnce) {
        const int64_t from = *next + i * rows.memory_stride;
        CopyAsync16(to + i * kBlockRowBytes, reinterpret_cast<const void*>(from), true);
      }
    } else {  // tile 0: as many groups of 16 rows as it has, zeros behind its last key
      const int32_t valid = tile == 0 ? first_keys : kKeys;
      const int32_t count = (valid + 15) / 16 * 16;
      G4V_UNROLL_BY(1)
      for (int32_t i = row; i < count; i += kRowsAtOnce) {
        const unsigned char* from = rows.Row(first + (i < valid ? i : valid - 1)) + piece * 16;
        CopyAsync16(to + (i - row) * kBlockRowBytes, from, i < valid);
      }
    }
    if (tile > 0) *next += kKeys * rows.memory_stride;
  }

  // One group: the values of `tile` and the keys of the next, which are needed together. Empty
  // behind the last tile, so that WaitForCopies can count.
  G4V_DEVICE void StartTile(int32_t tile) {
    if (tile < tiles) CopyTile(values, tile, ValueTile(tile), &next_values);
    if (tile + 1 < tiles) CopyTile(keys, tile + 1, KeyTile(tile + 1), &next_keys);
    CommitCopies();
  }

  // Row lane / 4 of the warp's 16 and the row 8 below; zeros for rows that are not there.
  G4V_DEVICE void LoadQueries() {
    const CrossAttentionParams& params = launch.p;
    const auto* base = static_cast<const unsigned char*>(params.q.data) +
                       (work.batch * params.q.batch + work.head * params.q.head) * 2;
    const uint32_t flip = params.scale < 0.0f ? 0x80008000u : 0u;
    const int32_t lane = ThreadIndex() % kWarpSize;
    G4V_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int32_t row = ThreadIndex() / kWarpSize * 16 + lane / 4 + half * 8;
      const unsigned char* from = base + (first_query + row) * params.q.row * 2 + lane % 4 * 4;
      G4V_UNROLL
      for (int step = 0; step < kQuerySteps; ++step) {
        G4V_UNROLL
        for (int right = 0; right < 2; ++right) {
          uint32_t pair = 0;
          if (row < queries) {
            pair = *reinterpret_cast<const uint32_t*>(from + step * 32 + right * 16) ^ flip;
          }
          q[step][right * 2 + half] = pair;
        }
      }
    }
  }

  // The products of q and the first 8 kBlocks keys of a tile, as a group.
  template <int kBlocks>
  G4V_DEVICE void StartScores(int32_t tile, float (&s)[kBlocks][4]) const {
    const uint64_t k = Further(key_descriptor, static_cast<uint32_t>(StageBytes(tile)));
    G4V_UNROLL
    for (int step = 0; step < kQuerySteps; ++step) {
      StartProduct<T, false>(s, q[step], Further(k, KeysStep<kKeys>(step)), step > 0);
    }
    CommitProducts();
  }

  // The products of p and the first 16 kSteps values of a tile, as a group.
  template <int kSteps>
  G4V_DEVICE void StartValues(int32_t tile) {
    const uint64_t v = Further(value_descriptor, static_cast<uint32_t>(StageBytes(tile)));
    G4V_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      StartProduct<T, true>(o, p[step], Further(v, ValuesStep(step)), true);
    }
    CommitProducts();
  }

  template <int kBlocks>
  G4V_DEVICE void PackWeights(const float (&s)[kBlocks][4]) {
    G4V_UNROLL
    for (int step = 0; step < kBlocks / 2; ++step) {
      const auto& left = s[2 * step];
      const auto& right = s[2 * step + 1];
      p[step][0] = PackPair<T>(left[0], left[1]);
      p[step][1] = PackPair<T>(left[2], left[3]);
      p[step][2] = PackPair<T>(right[0], right[1]);
      p[step][3] = PackPair<T>(right[2], right[3]);
    }
  }

  // Weights of tile 0, which has 16 kSteps keys, the last of them missing.
  template <int kSteps>
  G4V_DEVICE void FirstWeights() {
    float s[2 * kSteps][4];
    float shrink[2];  // not used: o is zero
    FenceProducts(s, q);
    StartScores(0, s);
    WaitForProducts<0>(s);
    softmax.template Update<true>(s, first_keys, scale_log2, shrink);
    PackWeights(s);
  }

  // Adds the values of `tile`, 16 kSteps of them, and makes the weights of the next.
  template <int kSteps>
  G4V_DEVICE void NextWeights(int32_t tile) {
    float s[kKeys / 8][4];
    float shrink[2] = {1.0f, 1.0f};
    FenceProducts(s, o, p);
    StartScores(tile + 1, s);
    StartValues<kSteps>(tile);
    WaitForProducts<1>(s);
    // Always true, which ptxas cannot know: without the branch it moves the second wait, which
    // names no register, up before the exponentials, and nothing overlaps.
    if (launch.query_tiles > 0) softmax.template Update<false>(s, kKeys, scale_log2, shrink);
    WaitForProducts<0>(o, p);
    G4V_UNROLL
    for (int n = 0; n < D / 8; ++n) {
      G4V_UNROLL
      for (int i = 0; i < 4; ++i) o[n][i] *= shrink[i / 2];
    }
    PackWeights(s);
  }

  template <int kSteps>
  G4V_DEVICE void LastValues(int32_t tile) {
    FenceProducts(o, p);
    StartValues<kSteps>(tile);
    WaitForProducts<0>(o, p);
  }

  // What has arrived for this thread becomes visible to all products, and all are done with the
  // stages that are filled next.
  template <int kNewest>
  G4V_DEVICE static void MeetCopies() {
    WaitForCopies<kNewest>();
    FenceProxyAsync();
    SyncBlock();
  }

  // Tile 0 has one to four groups of 16 keys: a product's shape is part of its instruction.
  enum class First { kWeights, kNextWeights, kLastValues };
  template <First kWhat, int kSteps>
  G4V_DEVICE void OfFirstTile() {
    if constexpr (kWhat == First::kWeights) {
      FirstWeights<kSteps>();
    } else if constexpr (kWhat == First::kNextWeights) {
      NextWeights<kSteps>(0);
    } else {
      LastValues<kSteps>(0);
    }
  }
  template <First kWhat>
  G4V_DEVICE void OfFirstTile() {
    if (first_keys > 48) {
      OfFirstTile<kWhat, 4>();
    } else if (first_keys > 32) {
      OfFirstTile<kWhat, 3>();
    } else if (first_keys > 16) {
      OfFirstTile<kWhat, 2>();
    } else {
      OfFirstTile<kWhat, 1>();
    }
  }

  // Up to where the values of `tile` and the keys of the next are there, and later ones on their
  // way: into the stage of the tile before, which all have left.
  G4V_DEVICE void MeetTile(int32_t tile) {
    MeetCopies<kAhead - 1>();
    StartTile(tile + kAhead);
  }

  G4V_DEVICE void Run() {
    const bool has_queries = ThreadIndex() / kWarpgroupSize * 64 < queries;  // of a warpgroup
    if (tiles > 0) {
      if (has_queries) LoadQueries();
      CopyTile(keys, 0, KeyTile(0), &next_keys);
      CommitCopies();
      for (int32_t tile = 0; tile < kAhead; ++tile) StartTile(tile);
      MeetCopies<kAhead>();  // the first keys alone
      if (has_queries) OfFirstTile<First::kWeights>();
      MeetTile(0);
      if (tiles == 1) {
        if (has_queries) OfFirstTile<First::kLastValues>();
      } else {
        if (has_queries) OfFirstTile<First::kNextWeights>();
        for (int32_t tile = 1; tile < tiles - 1; ++tile) {
          MeetTile(tile);
          if (has_queries) NextWeights<kKeySteps>(tile);
        }
        MeetTile(tiles - 1);
        if (has_queries) LastValues<kKeySteps>(tiles - 1);
      }
    }
    if (has_queries) {
      softmax.Finish();
      StoreRows<T, D>(launch, work, first_query, queries, softmax, o);
    }
  }
};

#endif  // sm_90a

}  // namespace g4v::kernels::cuda
