// Flash attention (Dao et al., 2022) for the CPU: softmax(Q K^T) V in one walk over the keys, with
// a running maximum and sum for each query, so that the scores of all keys are never stored.
//
// Not guarded: it is included once for each instruction set (kernels/cpu/simd/targets.h), each time
// with a class `Kernel` that gives the two products and the softmax of a block of keys:
// micro_kernel.h over vectors, micro_kernel_amx.h over the tiles of AMX.
//
// A task is one head or a few, up to 128 queries and a range of keys. It keeps everything
// transposed, so that the softmax is elementwise (a vector lane is a query):
//
//   Q  [D][queries]     transposed once
//   S  [keys][queries]  = K Q for kBlockKeys keys at a time
//   P  = 2^(S - max)    when the maximum grows, the sums so far are corrected
//   O  [D][queries]     += V^T P
//
// The rows of K and V are first copied next to each other. In the operand, where the keys and
// values of all layers lie side by side, rows are a multiple of 4 KiB apart and would evict one
// another from the caches.
//
// Where there are fewer tasks than threads need, the keys are split as well: every part leaves
// (max, sum, O) in the workspace, and the parts are merged in their order. Where there are more
// than enough, a task takes several heads, whose rows lie next to each other: a block of keys of
// one head, then of the next. Each row of the operand lies in a page of its own, and to find the
// page costs as much as to read the row.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/attention/block.h"
#include "kernels/cpu/attention/flash_attention_plan.h"
#include "kernels/cpu/attention/row_prefetcher.h"
#include "kernels/cpu/attention/rows.h"
#include "kernels/cpu/float16.h"
#include "kernels/cpu/simd/targets.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

template <class Kernel>
class FlashAttentionCall {
 public:
  FlashAttentionCall(const CrossAttentionParams& params, void* workspace, int threads)
      : p_(params), plan_(MakePlan<Kernel>(params, threads)) {
    scratch_ = static_cast<float*>(workspace);
    parts_ = scratch_ + threads * plan_.scratch;
  }

  void Run(Parallel& parallel) {
    // Each thread takes task after task, so that one that is late leaves its share to the others;
    // its number is its place in the workspace.
    const auto work = [](void* context, int64_t thread) {
      static_cast<FlashAttentionCall*>(context)->Work(thread);
    };
    parallel.Run(std::min<int64_t>(parallel.threads(), plan_.tasks), work, this);
    if (plan_.splits == 1) return;
    const auto merge = [](void* context, int64_t block) {
      static_cast<FlashAttentionCall*>(context)->Merge(block);
    };
    parallel.Run(plan_.tasks / plan_.splits, merge, this);
  }

 private:
  void Work(int64_t thread) {
    const typename Kernel::Session session;
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
    float* const rows = memory + Kernel::ScratchFloats(d);
    const int64_t row_floats = 2 * Kernel::kBlockKeys * Kernel::RowFloats(d);
    float* const heads = rows + plan_.together * row_floats;
    const int64_t query_floats = Kernel::QueryFloats(d);

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
      Kernel::PackQueries(p_, block(head), queries(head));
      const Part sums = part(head);
      std::fill_n(sums.out, d * kBlockQueries, 0.0f);
      std::fill_n(sums.maximum, kBlockQueries, std::numeric_limits<float>::lowest());
      std::fill_n(sums.sum, kBlockQueries, 0.0f);
    }
    for (int64_t key = begin; key < end; key += Kernel::kBlockKeys) {
      const int64_t count = std::min(Kernel::kBlockKeys, end - key);
      for (int64_t head = 0; head < plan_.group; head += plan_.together) {
        CopyRows(block(head), key, count, rows);
        const int64_t after = (head + plan_.together) % plan_.group;
        const int64_t next = after == 0 ? key + count : key;
        RowPrefetcher prefetch(p_, block(after), next, std::min(next + Kernel::kBlockKeys, end),
                               Kernel::Steps(first.queries, count, d), Kernel::kPrefetchRows);
        for (int64_t i = 0; i < plan_.together; ++i) {
          float* const k = rows + i * row_floats;
          Kernel::Attend(p_, block(head + i), count, queries(head + i), k, k + row_floats / 2,
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
                       to + own * Kernel::RowFloats(kSize));
  }

  template <int64_t kSize>
  void CopySegment(const ConstRows& keys, const ConstRows& values, const Block& first, int64_t row,
                   int64_t count, float* to) const {
    constexpr int64_t kRow = Kernel::RowFloats(kSize);
    constexpr int64_t kPart = Kernel::kBlockKeys * kRow;
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
        Kernel::template CopyRow<kSize>(k + head * k_head, dtype, to + head * 2 * kPart);
      }
      for (int64_t head = 0; head < heads; ++head) {
        Kernel::template CopyRow<kSize>(v + head * v_head, dtype, to + head * 2 * kPart + kPart);
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
      const Lane lane = FindLane(i, block.queries, d, Kernel::kPanelQueries, Kernel::kLanes);
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
  const AttentionPlan plan_;
  float* scratch_;  // [threads][plan_.scratch]
  float* parts_;    // [tasks][plan_.part], where the keys are split
  std::atomic<int64_t> next_{0};
};

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
