#include "kernels/cuda/plan.h"

#include <algorithm>

#include "kernels/cuda/geometry.h"
#include "kernels/divide_up.h"

namespace g4v::kernels::cuda {
namespace {

constexpr int64_t kMostRows = int64_t{1} << 30;  // row numbers are 32 bits wide on the device
constexpr int64_t kMostBlocks = (int64_t{1} << 31) - 1;

template <class Rows>
bool IsAligned(const Rows& rows, const CrossAttentionParams& p, int64_t row_count) {
  if (row_count == 0) return true;
  const auto element = static_cast<int64_t>(SizeOf(p.dtype));
  // A stride along an axis of length 1 is never used, and frameworks leave anything in it.
  const int64_t strides[] = {p.batch > 1 ? rows.batch : 0, p.heads > 1 ? rows.head : 0,
                             row_count > 1 ? rows.row : 0};
  bool aligned = reinterpret_cast<uintptr_t>(rows.data) % 16 == 0;
  for (const int64_t stride : strides) aligned = aligned && stride * element % 16 == 0;
  return aligned;
}

// The number of splits that should end first, where the GPU runs `slots` blocks at a time. The
// figures are in the time of 16 keys (a quarter of a tile), quartered.
//   a block:  its start (until the first keys have arrived), then its keys;
//   a merge:  a second launch, and every split's partial result to be read.
// They are estimates from instruction counts and from what launches commonly cost, not fitted.
int32_t ChooseSplits(int64_t tiles, int64_t units, int64_t slots) {
  constexpr int64_t kStart = 4 * 8;
  constexpr int64_t kUnit = 4;
  constexpr int64_t kMerge = 4 * 20;
  constexpr int64_t kMergeSplit = 1;
  int32_t best = 1;
  int64_t best_cost = -1;
  for (int32_t splits = 1; splits <= std::min<int64_t>(kMaxSplits, units); ++splits) {
    const int64_t waves = DivideUp(tiles * splits, slots);
    int64_t cost = waves * (kStart + kUnit * DivideUp(units, splits));
    if (splits > 1) cost += kMerge + kMergeSplit * splits;
    if (best_cost < 0 || cost < best_cost) {
      best = splits;
      best_cost = cost;
    }
  }
  return best;
}

const char* TensorCoreRefusal(const CrossAttentionParams& p, const Gpu& gpu) {
  if (p.dtype == DType::kFloat32) return "the tensor-core kernels take float16 and bfloat16 alone";
  if (gpu.architecture < 80) return "the tensor-core kernels need a GPU of compute capability 8.0";
  if (gpu.shared_bytes_per_block < TensorCoreSharedBytes(static_cast<int>(p.head_size))) {
    return "the GPU has too little shared memory for the tensor-core kernels";
  }
  if (!RowsAreAligned(p)) return "the tensor-core kernels need rows at multiples of 16 bytes";
  return nullptr;
}

const char* WarpgroupRefusal(const CrossAttentionParams& p, const Gpu& gpu) {
  if (!gpu.has_warpgroup_kernels) {
    return "the wgmma kernel needs a GPU of compute capability 9.0 and a build with code for 9.0a";
  }
  if (p.head_size != 64 && p.head_size != 128) return "the wgmma kernel takes heads of 64 or 128";
  if (gpu.shared_bytes_per_block < WarpgroupSharedBytes(static_cast<int>(p.head_size))) {
    return "the GPU has too little shared memory for the wgmma kernel";
  }
  return TensorCoreRefusal(p, gpu);
}

Kernel Choose(const CrossAttentionParams& p, const Gpu& gpu) {
  return TensorCoreRefusal(p, gpu) ? Kernel::kPlain : Kernel::kTensorCore;
}

int32_t SharedBytesOf(Kernel kernel, int head_size) {
  switch (kernel) {
    case Kernel::kPlain:
      return PlainSharedBytes(head_size);
    case Kernel::kTensorCore:
      return TensorCoreSharedBytes(head_size);
    case Kernel::kWarpgroup:
      return WarpgroupSharedBytes(head_size);
  }
  return 0;
}

Plan Refused(const char* error) {
  Plan plan;
  plan.error = error;
  return plan;
}

}  // namespace

bool RowsAreAligned(const CrossAttentionParams& p) {
  return IsAligned(p.q, p, p.queries) && IsAligned(p.out, p, p.queries) &&
         IsAligned(p.k_own, p, p.own_rows) && IsAligned(p.v_own, p, p.own_rows) &&
         IsAligned(p.k_mem, p, p.memory_rows) && IsAligned(p.v_mem, p, p.memory_rows);
}

int ThreadsOf(Kernel kernel) {
  switch (kernel) {
    case Kernel::kPlain:
      return kPlainThreads;
    case Kernel::kTensorCore:
      return kTensorCoreThreads;
    case Kernel::kWarpgroup:
      return kWarpgroupThreads;
  }
  return 0;
}

Plan MakePlan(const CrossAttentionParams& p, const Gpu& gpu, int32_t wanted) {
  if (p.queries > kMostRows || p.own_rows > kMostRows || p.memory_rows > kMostRows ||
      p.own_rows + p.memory_rows > kMostRows) {
    return Refused("queries and keys must each be at most 2^30");
  }
  const auto head_size = static_cast<int>(p.head_size);
  Plan plan;
  if (wanted < kChosen || wanted > static_cast<int32_t>(Kernel::kWarpgroup)) {
    return Refused("kernel must be -1 (the library chooses), 0, 1 or 2");
  }
  plan.kernel = wanted == kChosen ? Choose(p, gpu) : static_cast<Kernel>(wanted);
  const char* refusal = nullptr;
  if (plan.kernel == Kernel::kTensorCore) refusal = TensorCoreRefusal(p, gpu);
  if (plan.kernel == Kernel::kWarpgroup) refusal = WarpgroupRefusal(p, gpu);
  if (refusal) return Refused(refusal);
  const bool tensor_core = plan.kernel != Kernel::kPlain;
  plan.shared_bytes = SharedBytesOf(plan.kernel, head_size);
  static_assert(kTensorCoreQueries == kWarpgroupQueries, "both take the same blocks");
  const int64_t tile = tensor_core ? kTensorCoreQueries : kPlainQueries;
  plan.query_tiles = static_cast<int32_t>(DivideUp(p.queries, tile));

  // Overflow-safe: each factor is checked before the next product.
  if (p.batch > kMostBlocks || p.heads > kMostBlocks) return Refused("too many heads");
  const int64_t heads = p.batch * p.heads;
  if (heads == 0 || p.queries == 0) return plan;
  if (heads > kMostBlocks / plan.query_tiles) {
    return Refused("batch x heads x query tiles must be below 2^31");
  }
  const int64_t tiles = heads * plan.query_tiles;
  const int64_t units = DivideUp(p.own_rows + p.memory_rows, kUnitKeys);
  // One tensor-core block of 8 warps fills a multiprocessor's registers; plain ones are small. Two
  // wgmma blocks may fit, but share what a tile is bound by.
  const int64_t slots = std::max<int64_t>(gpu.multiprocessors, 1) * (tensor_core ? 1 : 4);
  plan.splits = ChooseSplits(tiles, units, slots);
  plan.blocks = tiles * plan.splits;
  if (plan.blocks > kMostBlocks) return Refused("batch x heads x query tiles must be below 2^31");
  if (plan.splits == 1) return plan;

  const int64_t rows = heads * p.queries;
  plan.merge_blocks = DivideUp(rows * (head_size / kMergeElements), kMergeThreads);
  plan.stats_offset = plan.splits * rows * head_size * 4;
  plan.workspace_bytes = plan.stats_offset + plan.splits * rows * 2 * 4;
  return plan;
}

}  // namespace g4v::kernels::cuda
