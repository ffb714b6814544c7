// The attention with queries in vector lanes; simd_avx2.h or simd_avx512.h gives `Simd`.
//
// A task is one head or a few, up to 128 queries and a range of keys. It keeps everything
// transposed, which makes the softmax elementwise (a lane is a query) and needs no transpose of
// keys or values:
//
//   Q  [D][queries]     transposed once, times scale * log2(e), so that scores are powers of two
//   S  [keys][queries]  += K[key][d] (broadcast) * Q[d][queries]      for 64 keys at a time
//   P  = 2^(S - max)    max, sum and the sums before are corrected when a new maximum appears
//   O  [D][queries]     += V[key][d] (broadcast) * P[key][queries]
//
// Both products are register tiles of kTileRows x kPanelVectors accumulators; the 64 rows of K and
// V are first copied next to each other (as float32): in the product for all layers they lie a
// multiple of 4 KiB apart, where they would evict one another from the caches. The next 64 are
// prefetched meanwhile. Work per 64 keys and 64 queries at D = 64: 1 M multiply-adds over 48 KiB,
// all in L1.
//
// Where threads would be idle, the keys are split as well; every part leaves (max, sum, O) in the
// workspace, and the parts are merged in their order. Where there is more than enough to do, a task
// takes several heads, whose rows lie next to each other: 64 keys of one head, then of the next. A
// row of the product for all layers has a page of its own, and finding it costs as much as its
// data.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/panel.h"
#include "kernels/cpu/rows.h"

namespace g4v::kernels {
namespace {

constexpr int64_t kBlockQueries = 128;
constexpr int64_t kBlockKeys = 64;
constexpr int64_t kFewestSplitKeys = 256;  // a shorter range costs more in merging than it saves
constexpr int64_t kMostGroupHeads = 4;     // their Q and O stay in a level-2 cache of 512 KiB
constexpr float kLog2E = 1.44269504088896341f;
constexpr int kPanelQueries = Simd::kPanelVectors * Simd::kLanes;

// How a call is cut into tasks.
struct Plan {
  int64_t query_blocks;
  int64_t splits;   // of the keys
  int64_t group;    // heads of a task; 1 where the keys are split
  int64_t tasks;    // batch * heads / group * query_blocks * splits
  int64_t scratch;  // floats of one thread
  int64_t part;     // floats of one part: O [D][128], max [128], sum [128]
};

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
  plan.group = kMostGroupHeads;
  while (plan.group > 1 && (p.heads % plan.group != 0 || blocks / plan.group < 2 * threads)) {
    plan.group /= 2;
  }
  plan.tasks = blocks / plan.group * plan.splits;
  plan.part = (p.head_size + 2) * kBlockQueries;
  // Q and a part of each head, K and V, S.
  plan.scratch = plan.group * (p.head_size * kBlockQueries + plan.part) +
                 2 * kBlockKeys * p.head_size + kBlockKeys * kPanelQueries;
  return plan;
}

void CopyRow(const char* from, DType dtype, float* to, int64_t count) {
  for (int64_t d = 0; d < count; d += Simd::kLanes) {
    Simd::Store(to + d, Simd::LoadAs(from + d * static_cast<int64_t>(SizeOf(dtype)), dtype));
  }
}

void PrefetchRow(const char* row, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i, 0, 2);
}

// Where the lanes of query `i` of a block lie in a transposed array [panels][D][width of the
// panel]: element d is at start[d * width].
struct Lane {
  int64_t start;
  int64_t width;
};

// Panels are full but for the last, whose width is the fewest whole vectors.
Lane FindLane(int64_t query, int64_t queries, int64_t head_size) {
  const int64_t panel = query / kPanelQueries;
  const int64_t in_panel = std::min<int64_t>(queries - panel * kPanelQueries, kPanelQueries);
  const int64_t width = (in_panel + Simd::kLanes - 1) / Simd::kLanes * Simd::kLanes;
  return {panel * kPanelQueries * head_size + query % kPanelQueries, width};
}

// Scratch memory of one thread.
struct Scratch {
  float* k;       // [64][D]
  float* v;       // [64][D]
  float* scores;  // [64][width]
  float* heads;   // [group] x (Q [panels][D][width], Part)
};

// What a range of keys adds up to, for one block of queries.
struct Part {
  float* out;      // [panels][D][width]
  float* maximum;  // [128], in powers of two
  float* sum;      // [128]

  Part(float* memory, int64_t head_size)
      : out(memory), maximum(memory + head_size * kBlockQueries), sum(maximum + kBlockQueries) {}
};

class BlockedCall {
 public:
  BlockedCall(const CrossAttentionParams& params, void* workspace, int threads)
      : p_(params), plan_(MakePlan(params, threads)) {
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
    float* memory = scratch_ + thread * plan_.scratch;
    for (int64_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < plan_.tasks;) {
      Attend(task, memory);
    }
  }

  // Up to 128 queries of one head.
  struct Block {
    int64_t b, h, first_query, queries;
  };

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
    Scratch scratch{};
    scratch.k = memory;
    scratch.v = scratch.k + kBlockKeys * d;
    scratch.scores = scratch.v + kBlockKeys * d;
    scratch.heads = scratch.scores + kBlockKeys * kPanelQueries;

    const auto queries = [&](int64_t head) {
      return scratch.heads + head * (d * kBlockQueries + plan_.part);
    };
    const auto part = [&](int64_t head) {
      return Part(
          plan_.splits == 1 ? queries(head) + d * kBlockQueries : parts_ + task * plan_.part, d);
    };
    const auto block = [&](int64_t head) {
      Block of = first;
      of.h += head;
      return of;
    };
    for (int64_t head = 0; head < plan_.group; ++head) {
      TransposeQueries(block(head), queries(head));
      const Part sums = part(head);
      std::fill_n(sums.out, d * kBlockQueries, 0.0f);
      std::fill_n(sums.maximum, kBlockQueries, std::numeric_limits<float>::lowest());
      std::fill_n(sums.sum, kBlockQueries, 0.0f);
    }
    for (int64_t key = begin; key < end; key += kBlockKeys) {
      const int64_t count = std::min(kBlockKeys, end - key);
      for (int64_t head = 0; head < plan_.group; ++head) {
        const bool same = head + 1 < plan_.group;
        const int64_t next = same ? key : key + count;
        AttendKeys(block(head), scratch, queries(head), part(head), key, count,
                   {block(same ? head + 1 : 0), next, std::min(next + kBlockKeys, end)});
      }
    }
    for (int64_t head = 0; head < plan_.group && plan_.splits == 1; ++head) {
      const Part sums = part(head);
      WriteOut(block(head), &sums, 1);
    }
  }

  // Writes [panels][D][width].
  void TransposeQueries(const Block& block, float* to) const {
    const float factor = p_.scale * kLog2E;
    std::fill_n(to, p_.head_size * kBlockQueries, 0.0f);  // lanes without a query
    alignas(64) float row[kLargestHeadSize];
    for (int64_t i = 0; i < block.queries; ++i) {
      CopyRow(Row(p_.q, p_.dtype, block.b, block.h, block.first_query + i), p_.dtype, row,
              p_.head_size);
      const Lane lane = FindLane(i, block.queries, p_.head_size);
      for (int64_t d = 0; d < p_.head_size; ++d) to[lane.start + d * lane.width] = row[d] * factor;
    }
  }

  // The rows that are needed next: keys [key, end) of a block's head.
  struct Next {
    Block block;
    int64_t key, end;
  };

  void AttendKeys(const Block& block, const Scratch& scratch, const float* q, const Part& part,
                  int64_t key, int64_t count, Next next) const {
    const int64_t d = p_.head_size;
    const int64_t bytes = d * static_cast<int64_t>(SizeOf(p_.dtype));
    for (int64_t i = 0; i < count; ++i) {
      CopyRow(KeyRow(p_, block.b, block.h, key + i), p_.dtype, scratch.k + i * d, d);
      CopyRow(ValueRow(p_, block.b, block.h, key + i), p_.dtype, scratch.v + i * d, d);
    }
    // A few lines before every tile: a processor has some 16 requests to memory in flight, and
    // loads wait behind those that queue up.
    const int64_t tiles = (block.queries + kPanelQueries - 1) / kPanelQueries *
                          ((count + d + 2 * Simd::kTileRows - 2) / Simd::kTileRows);
    const int64_t rows = 2 * (next.end - next.key);
    int64_t asked = 0;
    const auto prefetch = [&] {
      for (const int64_t until = std::min(rows, asked + rows / tiles + 1); asked < until; ++asked) {
        const int64_t row = next.key + asked / 2;
        PrefetchRow(asked % 2 ? ValueRow(p_, next.block.b, next.block.h, row)
                              : KeyRow(p_, next.block.b, next.block.h, row),
                    bytes);
      }
    };
    for (int64_t query = 0; query < block.queries; query += kPanelQueries) {
      const Lane lane = FindLane(query, block.queries, d);
      const auto attend = [&](auto vectors) {
        AttendPanel<decltype(vectors)::value>(q + lane.start, scratch.k, scratch.v, count, d,
                                              scratch.scores, part.maximum + query,
                                              part.sum + query, part.out + lane.start, prefetch);
      };
      [&]<int... C>(std::integer_sequence<int, C...>) {
        ((lane.width == (C + 1) * Simd::kLanes ? attend(std::integral_constant<int, C + 1>())
                                               : void()),
         ...);
      }(std::make_integer_sequence<int, Simd::kPanelVectors>());
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
      const Lane lane = FindLane(i, block.queries, d);
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

size_t BlockedWorkspaceSize(const CrossAttentionParams& params, int threads) {
  const Plan plan = MakePlan(params, threads);
  const int64_t parts = plan.splits == 1 ? 0 : plan.tasks * plan.part;
  return static_cast<size_t>(threads * plan.scratch + parts) * sizeof(float);
}

}  // namespace
}  // namespace g4v::kernels
