// How a call of flash attention is cut into tasks, and how much scratch memory it needs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/attention/block.h"
#include "kernels/cross_attention.h"
#include "kernels/divide_up.h"

namespace g4v::kernels {

constexpr int64_t kFewestSplitKeys = 256;  // a shorter range costs more in merging than it saves

// How a call is cut into tasks.
struct AttentionPlan {
  int64_t query_blocks;
  int64_t splits;    // of the keys
  int64_t group;     // heads of a task; 1 where the keys are split
  int64_t together;  // heads whose rows are copied at once: 1 or group
  int64_t tasks;     // batch * heads / group * query_blocks * splits
  int64_t scratch;   // floats of one thread
  int64_t part;      // floats of one part: O [D][128], max [128], sum [128]
};

template <class Kernel>
AttentionPlan MakePlan(const CrossAttentionParams& p, int threads) {
  AttentionPlan plan{};
  plan.query_blocks = DivideUp(p.queries, kBlockQueries);
  const int64_t blocks = p.batch * p.heads * plan.query_blocks;
  const int64_t keys = p.own_rows + p.memory_rows;
  plan.splits = 1;
  if (blocks > 0 && blocks < 2 * threads) {
    plan.splits = std::min(DivideUp(2 * threads, blocks), keys / kFewestSplitKeys);
    plan.splits = std::max<int64_t>(plan.splits, 1);
  }
  plan.group = Kernel::kMostGroupHeads;
  while (plan.group > 1 && (p.heads % plan.group != 0 || blocks / plan.group < 2 * threads)) {
    plan.group /= 2;
  }
  plan.tasks = blocks / plan.group * plan.splits;
  plan.part = (p.head_size + 2) * kBlockQueries;
  plan.together = Kernel::kCopyTogether ? plan.group : 1;
  // Q and a part of each head, K and V of those copied at once, and what Kernel needs for one.
  plan.scratch = plan.group * (Kernel::QueryFloats(p.head_size) + plan.part) +
                 plan.together * 2 * Kernel::kBlockKeys * Kernel::RowFloats(p.head_size) +
                 Kernel::ScratchFloats(p.head_size);
  return plan;
}

template <class Kernel>
size_t WorkspaceSize(const CrossAttentionParams& params, int threads) {
  const AttentionPlan plan = MakePlan<Kernel>(params, threads);
  const int64_t parts = plan.splits == 1 ? 0 : plan.tasks * plan.part;
  return static_cast<size_t>(threads * plan.scratch + parts) * sizeof(float);
}

}  // namespace g4v::kernels
