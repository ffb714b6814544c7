// Which block does what: the index arithmetic of all kernels, the same on host and device.
#pragma once

#include "kernels/cross_attention.h"
#include "kernels/cuda/geometry.h"

namespace g4v::kernels::cuda {

// The parameters of a kernel. Plain data: it is passed in the launch's parameter space.
struct Launch {
  CrossAttentionParams p;
  int32_t query_tiles = 0;  // blocks along the queries
  int32_t splits = 1;       // blocks along the keys; above 1, each leaves a partial result
  // Partial results, where splits > 1; row = (batch * heads + head) * queries + query.
  float* partial_out = nullptr;    // [splits, rows, D]: sum_j 2^(s_j - m) v_j
  float* partial_stats = nullptr;  // [splits, rows, 2]: m (in units of log2), sum_j 2^(s_j - m)
};

struct BlockWork {
  int32_t batch, head, query_tile, split;
};

// Blocks of one head are neighbours, so that its keys stay in the L2 cache.
G4V_HOST_DEVICE BlockWork WorkOfBlock(const Launch& launch, int32_t block) {
  BlockWork work;
  work.split = block % launch.splits;
  block /= launch.splits;
  work.query_tile = block % launch.query_tiles;
  block /= launch.query_tiles;
  const auto heads = static_cast<int32_t>(launch.p.heads);
  work.head = block % heads;
  work.batch = block / heads;
  return work;
}

struct KeyRange {
  int32_t begin, end;  // of the list: own keys, then memory keys
};

// Split `split` of `total` keys: contiguous, in whole units but for the list's end, sizes within
// one unit of each other. With fewer units than splits the last splits are empty.
G4V_HOST_DEVICE KeyRange KeysOfSplit(int32_t total, int32_t splits, int32_t split) {
  const int32_t units = (total + kUnitKeys - 1) / kUnitKeys;
  const int32_t each = units / splits;
  const int32_t longer = units % splits;  // this many splits, the first, have one unit more
  const int32_t first = split * each + (split < longer ? split : longer);
  const int32_t last = first + each + (split < longer ? 1 : 0);
  KeyRange range = {first * kUnitKeys, last * kUnitKeys};
  if (range.begin > total) range.begin = total;
  if (range.end > total) range.end = total;
  return range;
}

// A length outside of 0 .. memory_rows would read past the memory. It is clamped, because a kernel
// cannot report an error.
G4V_HOST_DEVICE int32_t ValidKeys(const CrossAttentionParams& p, int32_t batch) {
  auto length = static_cast<int32_t>(p.memory_rows);
  if (p.mem_len) {
    const int32_t given = p.mem_len[batch];
    length = given < 0 ? 0 : given < length ? given : length;
  }
  return static_cast<int32_t>(p.own_rows) + length;
}

// The keys (or values) of one batch and head as one list: own rows, then memory rows.
struct RowList {
  const unsigned char* own;
  const unsigned char* memory;
  int64_t own_stride, memory_stride;  // bytes
  int32_t own_rows;

  G4V_HOST_DEVICE const unsigned char* Row(int32_t index) const {
    return index < own_rows ? own + index * own_stride
                            : memory + (index - own_rows) * memory_stride;
  }
};

template <int kElementBytes>
G4V_HOST_DEVICE RowList MakeRowList(const ConstRows& own, const ConstRows& memory,
                                    const CrossAttentionParams& p, const BlockWork& work) {
  RowList list;
  list.own_rows = static_cast<int32_t>(p.own_rows);
  list.own = static_cast<const unsigned char*>(own.data);
  list.memory = static_cast<const unsigned char*>(memory.data);
  if (list.own) list.own += (work.batch * own.batch + work.head * own.head) * kElementBytes;
  if (list.memory) {
    list.memory += (work.batch * memory.batch + work.head * memory.head) * kElementBytes;
  }
  list.own_stride = own.row * kElementBytes;
  list.memory_stride = memory.row * kElementBytes;
  return list;
}

// 16-byte pieces of a row of `kPieces` are stored in shared memory in another order, so that the
// eight rows that one matrix load reads at once lie in eight different groups of banks. The order
// only depends on the row modulo 8.
template <int kPieces>
G4V_HOST_DEVICE int32_t SharedPiece(int32_t row, int32_t piece) {
  constexpr int kGroups = kPieces % 8 == 0 ? 8 : kPieces % 4 == 0 ? 4 : 2;
  constexpr int kShift = kGroups == 8 ? 0 : kGroups == 4 ? 1 : 2;  // log2(8 / kGroups)
  static_assert(kPieces % 2 == 0, "rows of an odd number of pieces need no other order");
  return row * kPieces + (piece ^ ((row >> kShift) & (kGroups - 1)));
}

}  // namespace g4v::kernels::cuda
