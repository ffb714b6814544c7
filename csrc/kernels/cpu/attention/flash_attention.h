// The attention with queries in vector lanes: how a call is cut into tasks, and the walk of a task
// over its keys. panel.h (vectors) or tiles.h (tiles) gives the `Panels`, the products and the
// softmax.
//
// A task is one head or a few, up to 128 queries and a range of keys. It keeps everything
// transposed, which makes the softmax elementwise (a lane is a query):
//
//   Q  [D][queries]     transposed once
//   S  [keys][queries]  = K Q for kBlockKeys keys at a time
//   P  = 2^(S - max)    max, sum and the sums before are corrected when a new maximum appears
//   O  [D][queries]     += V^T P
//
// The rows of K and V are first copied next to each other: in the product for all layers they lie a
// multiple of 4 KiB apart, where they would evict one another from the caches.
//
// Where threads would be idle, the keys are split as well; every part leaves (max, sum, O) in the
// workspace, and the parts are merged in their order. Where there is more than enough to do, a task
// takes several heads, whose rows lie next to each other: a block of keys of one head, then of the
// next. A row of the product for all layers has a page of its own, and finding it costs as much as
// its data.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/cpu/attention/block.h"
#include "kernels/cpu/attention/rows.h"
#include "kernels/cpu/cpu.h"

namespace g4v::kernels {
namespace {

constexpr int64_t kFewestSplitKeys = 256;  // a shorter range costs more in merging than it saves

// How a call is cut into tasks.
struct Plan {
  int64_t query_blocks;
  int64_t splits;    // of the keys
  int64_t group;     // heads of a task; 1 where the keys are split
  int64_t together;  // heads whose rows are copied at once: 1 or group
  int64_t tasks;     // batch * heads / group * query_blocks * splits
  int64_t scratch;   // floats of one thread
  int64_t part;      // floats of one part: O [D][128], max [128], sum [128]
};

template <class Panels>
Plan MakePlan(const CrossAttentionParams& p, int threads) {
  Plan plan{};
  plan.query_blocks = (p.queries + kBlockQueries - 1) / kBlockQueries;
  const int64_t blocks = p.batch * p.heads * plan.query_blocks;
  const int64_t keys = p.own_rows + p.memory_rows;
  plan.splits = 1;
  if (blocks > 0 && blocks < 2 * threads) {
    plan.splits = std::min((2 * threads + blocks - 1) / blocks, keys / kFewestSplitKeys);
    plan.splits = std::max<int64_t>(plan.splits, 1);
  }
  plan.group = Panels::kMostGroupHeads;
  while (plan.group > 1 && (p.heads % plan.group != 0 || blocks / plan.group < 2 * threads)) {
    plan.group /= 2;
  }
  plan.tasks = blocks / plan.group * plan.splits;
  plan.part = (p.head_size + 2) * kBlockQueries;
  plan.together = Panels::kCopyTogether ? plan.group : 1;
  // Q and a part of each head, K and V of those copied at once, and what Panels needs for one.
  plan.scratch = plan.group * (Panels::QueryFloats(p.head_size) + plan.part) +
                 plan.together * 2 * Panels::kBlockKeys * Panels::RowFloats(p.head_size) +
                 Panels::ScratchFloats(p.head_size);
  return plan;
}

// Asks for the rows that are copied next: keys [key, end) of a block's head. A call asks for a few
// lines: some 16 requests to memory can be in flight, and loads wait behind those that queue up.
class Prefetcher {
 public:
  Prefetcher(const CrossAttentionParams& p, const Block& block, int64_t key, int64_t end,
             int64_t calls)
      : p_(p), block_(block), key_(key), rows_(2 * (end - key)), each_(rows_ / calls + 1) {}

  void operator()() {
    const int64_t bytes = p_.head_size * static_cast<int64_t>(SizeOf(p_.dtype));
    for (const int64_t until = std::min(rows_, asked_ + each_); asked_ < until; ++asked_) {
      const int64_t key = key_ + asked_ / 2;
      const char* row =
          asked_ % 2 ? ValueRow(p_, block_.b, block_.h, key) : KeyRow(p_, block_.b, block_.h, key);
      for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at, 0, 2);
    }
  }

 private:
  const CrossAttentionParams& p_;
  const Block block_;
  const int64_t key_;
  const int64_t rows_;
  const int64_t each_;
  int64_t asked_ = 0;
};

template <class Panels>
class BlockedCall {
 public:
  BlockedCall(const CrossAttentionParams& params, void* workspace, int threads)
      : p_(params), plan_(MakePlan<Panels>(params, threads)) {
    scratch_ = static_cast<float*>(workspace);
    parts_ = scratch_ + threads * plan_.scratch;
  }

  void Run(Parallel& parallel) {
    // Each thread takes task after task, so that one that is late leaves its share to the others;
    // its number is its place in the workspace.
    const auto work = [](void* context, int64_t thread) {
      static_cast<BlockedCall*>(context)->Work(thread);
    };
    parallel.Run(std::min<int64_t>(parallel.threads(), plan_.tasks), work, this);
    if (plan_.splits == 1) return;
    const auto merge = [](void* context, int64_t block) {
      static_cast<BlockedCall*>(context)->Merge(block);
    };
    parallel.Run(plan_.tasks / plan_.splits, merge, this);
  }

 private:
  void Work(int64_t thread) {
    const typename Panels::Session session;
    float* memory = scratch_ + thread * plan_.scratch;
    for (int64_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < plan_.tasks;) {
      Attend(task, memory);
    }
  }

  // index: of (batch, group of heads, block of queries). The block of the group's first head.
  Block BlockOf(int64_t index) const {
    const int64_t first = index % plan_.query_blocks * kBlockQueries;
    const int64_t head = index / plan_.query_blocks * plan_.group;
    return {head / p_.heads, head % p_.heads, first, std::min(kBlockQueries, p_.queries - first)};
  }

  void Attend(int64_t task, float* memory) {
    const int64_t d = p_.head_size;
    const Block first = BlockOf(task / plan_.splits);
    const int64_t split = task % plan_.splits;
    const int64_t keys = p_.own_rows + MemoryLength(p_, first.b);
    const int64_t begin = keys * split / plan_.splits;
    const int64_t end = keys * (split + 1) / plan_.splits;
    float* const rows = memory + Panels::ScratchFloats(d);
    const int64_t row_floats = 2 * Panels::kBlockKeys * Panels::RowFloats(d);
    float* const heads = rows + plan_.together * row_floats;
    const int64_t query_floats = Panels::QueryFloats(d);

    const auto queries = [&](int64_t head) { return heads + head * (query_floats + plan_.part); };
    const auto part = [&](int64_t head) {
      return Part(plan_.splits == 1 ? queries(head) + query_floats : parts_ + task * plan_.part, d);
    };
    const auto block = [&](int64_t head) {
      Block of = first;
      of.h += head;
      return of;
    };
    for (int64_t head = 0; head < plan_.group; ++head) {
      Panels::PackQueries(p_, block(head), queries(head));
      const Part sums = part(head);
      std::fill_n(sums.out, d * kBlockQueries, 0.0f);
      std::fill_n(sums.maximum, kBlockQueries, std::numeric_limits<float>::lowest());
      std::fill_n(sums.sum, kBlockQueries, 0.0f);
    }
    for (int64_t key = begin; key < end; key += Panels::kBlockKeys) {
      const int64_t count = std::min(Panels::kBlockKeys, end - key);
      for (int64_t head = 0; head < plan_.group; head += plan_.together) {
        CopyRows(block(head), key, count, rows);
        const int64_t after = (head + plan_.together) % plan_.group;
        const int64_t next = after == 0 ? key + count : key;
        Prefetcher prefetch(p_, block(after), next, std::min(next + Panels::kBlockKeys, end),
                            Panels::Steps(first.queries, count, d));
        for (int64_t i = 0; i < plan_.together; ++i) {
          float* const k = rows + i * row_floats;
          Panels::Attend(p_, block(head + i), count, queries(head + i), k, k + row_floats / 2,
                         part(head + i), memory, prefetch);
        }
      }
    }
    for (int64_t head = 0; head < plan_.group && plan_.splits == 1; ++head) {
      const Part sums = part(head);
      WriteOut(block(head), &sums, 1);
    }
  }

  // Keys and values of a head, or of all of a task, row by row: [heads][2][kBlockKeys][RowFloats].
  void CopyRows(const Block& first, int64_t key, int64_t count, float* to) const {
    switch (p_.head_size) {
      case 32:
        return CopyRowsOf<32>(first, key, count, to);
      case 64:
        return CopyRowsOf<64>(first, key, count, to);
      case 80:
        return CopyRowsOf<80>(first, key, count, to);
      case 96:
        return CopyRowsOf<96>(first, key, count, to);
      default:
        return CopyRowsOf<128>(first, key, count, to);
    }
  }

  // Few instructions a row: the more rows a processor sees ahead, the more of their pages it looks
  // up at once.
  template <int64_t kSize>
  void CopyRowsOf(const Block& first, int64_t key, int64_t count, float* to) const {
    const int64_t own = std::clamp<int64_t>(p_.own_rows - key, 0, count);
    CopySegment<kSize>(p_.k_own, p_.v_own, first, key, own, to);
    CopySegment<kSize>(p_.k_mem, p_.v_mem, first, key + own - p_.own_rows, count - own,
                       to + own * Panels::RowFloats(kSize));
  }

  template <int64_t kSize>
  void CopySegment(const ConstRows& keys, const ConstRows& values, const Block& first, int64_t row,
                   int64_t count, float* to) const {
    constexpr int64_t kRow = Panels::RowFloats(kSize);
    constexpr int64_t kPart = Panels::kBlockKeys * kRow;
    if (count == 0) return;
    const DType dtype = p_.dtype;
    const int64_t heads = plan_.together;
    const auto size = static_cast<int64_t>(SizeOf(dtype));
    const char* k = Row(keys, dtype, first.b, first.h, row);
    const char* v = Row(values, dtype, first.b, first.h, row);
    const int64_t k_head = keys.head * size;
    const int64_t v_head = values.head * size;
    const int64_t k_row = keys.row * size;
    const int64_t v_row = values.row * size;
    for (int64_t i = 0; i < count; ++i, to += kRow, k += k_row, v += v_row) {
      for (int64_t head = 0; head < heads; ++head) {
        Panels::template CopyRow<kSize>(k + head * k_head, dtype, to + head * 2 * kPart);
      }
      for (int64_t head = 0; head < heads; ++head) {
        Panels::template CopyRow<kSize>(v + head * v_head, dtype, to + head * 2 * kPart + kPart);
      }
    }
  }

  void Merge(int64_t index) const {
    const Block block = BlockOf(index);
    WriteOut(block, nullptr, plan_.splits, index);
  }

  // out = sum of the parts' O * 2^(max - largest max), over the like sum of their sums.
  void WriteOut(const Block& block, const Part* single, int64_t count, int64_t index = 0) const {
    const int64_t d = p_.head_size;
    alignas(64) float row[kLargestHeadSize];
    for (int64_t i = 0; i < block.queries; ++i) {
      const Lane lane = FindLane(i, block.queries, d, Panels::kPanelQueries, Simd::kLanes);
      const auto part = [&](int64_t split) {
        return single ? *single : Part(parts_ + (index * plan_.splits + split) * plan_.part, d);
      };
      float largest = std::numeric_limits<float>::lowest();
      for (int64_t split = 0; split < count; ++split) {
        largest = std::max(largest, part(split).maximum[i]);
      }
      std::fill_n(row, d, 0.0f);
      float total = 0;
      for (int64_t split = 0; split < count; ++split) {
        const Part from = part(split);
        const float factor = std::exp2(from.maximum[i] - largest);
        total += factor * from.sum[i];
        for (int64_t j = 0; j < d; ++j) row[j] += factor * from.out[lane.start + j * lane.width];
      }
      const float inverse = total > 0 ? 1.0f / total : (total == 0 ? 0.0f : total);  // NaN stays
      for (int64_t j = 0; j < d; ++j) row[j] *= inverse;
      StoreRow(row, Row(p_.out, p_.dtype, block.b, block.h, block.first_query + i));
    }
  }

  void StoreRow(const float* row, char* to) const {
    if (p_.dtype == DType::kFloat32) {
      std::copy_n(row, p_.head_size, reinterpret_cast<float*>(to));
      return;
    }
    auto* out = reinterpret_cast<uint16_t*>(to);
    for (int64_t j = 0; j < p_.head_size; ++j) {
      out[j] = p_.dtype == DType::kFloat16 ? FloatToFloat16(row[j]) : FloatToBFloat16(row[j]);
    }
  }

  const CrossAttentionParams& p_;
  const Plan plan_;
  float* scratch_;  // [threads][plan_.scratch]
  float* parts_;    // [tasks][plan_.part], where the keys are split
  std::atomic<int64_t> next_{0};
};

template <class Panels>
size_t BlockedWorkspaceSize(const CrossAttentionParams& params, int threads) {
  const Plan plan = MakePlan<Panels>(params, threads);
  const int64_t parts = plan.splits == 1 ? 0 : plan.tasks * plan.part;
  return static_cast<size_t>(threads * plan.scratch + parts) * sizeof(float);
}

}  // namespace
}  // namespace g4v::kernels
