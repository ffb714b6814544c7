// The sizes of the kernels' blocks and tiles, for the kernels and for the plan.
#pragma once

#include "kernels/cuda/portable.h"

namespace g4v::kernels::cuda {

// Keys are dealt out in units: the tensor cores take 16 keys at a time.
constexpr int kUnitKeys = 16;

constexpr int kTensorCoreQueries = 128;  // of a block
constexpr int kTensorCoreWarps = kTensorCoreQueries / 16;
constexpr int kTensorCoreThreads = kTensorCoreWarps * kWarpSize;
constexpr int kTensorCoreKeys = 64;  // of a tile
constexpr int kTensorCoreStages = 3;

constexpr int TensorCoreSharedBytes(int head_size) {
  return kTensorCoreStages * 2 * kTensorCoreKeys * head_size * 2;
}

constexpr int kWarpgroupSize = 4 * kWarpSize;
constexpr int kWarpgroupQueries = 128;  // of a block: two warpgroups of 64
constexpr int kWarpgroupThreads = 2 * kWarpgroupSize;
constexpr int kWarpgroupKeys = 64;  // of a tile
constexpr int kWarpgroupStages = 4;

constexpr int WarpgroupSharedBytes(int head_size) {
  return kWarpgroupStages * 2 * kWarpgroupKeys * head_size * 2;
}

// Blocks that one multiprocessor holds at a time: registers allow two where a row is 64 long.
constexpr int WarpgroupBlocksAtOnce(int head_size) { return head_size <= 64 ? 2 : 1; }

constexpr int kPlainWarps = 4;
constexpr int kPlainThreads = kPlainWarps * kWarpSize;
constexpr int kPlainRows = 4;  // queries of a warp
constexpr int kPlainQueries = kPlainWarps * kPlainRows;
constexpr int kPlainKeys = kWarpSize;

constexpr int PlainSharedBytes(int head_size) {
  return 4 * (kPlainQueries * head_size + kPlainKeys * (head_size + 1) + kPlainKeys * head_size);
}

constexpr int kMergeThreads = 256;
constexpr int kMergeElements = 4;  // of a thread

}  // namespace g4v::kernels::cuda
