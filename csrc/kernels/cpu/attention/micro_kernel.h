// The two products and the softmax of flash_attention.h in float32, over the vector class `Simd`.
// 16-bit inputs are converted to float32 as they are copied. Not guarded: see flash_attention.h.
//
// Both products are micro-kernels, as in a GEMM: kMicroRows x kMicroVectors accumulators stay in
// registers, and one factor is an element of K or V broadcast to all lanes, so that neither product
// needs a transpose. At D = 64, K and V of 60 keys (30 KiB) stay in the level-1 cache, or in the
// level-2 cache where the former has 32 KiB: both products reach the processor's peak in either.
//
// Where the time goes, on a Zen 4 core with AVX2, 128 queries, D = 64 (share of multiply-add peak
// 0.79): both products 80%, softmax 6%, prefetching rows and finding their pages 6%, copying them
// 4%, storing sums and scores 4%. Measured without gain: the softmax inside the tile of scores, with
// a maximum that is raised only when it is exceeded by 2^8; copying rows in the shadow of products,
// one at a time or a panel's share; blocks of 36 to 120 keys.
#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/attention/block.h"
#include "kernels/cpu/attention/rows.h"
#include "kernels/cpu/simd/simd.h"
#include "kernels/divide_up.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

using Vector = Simd::Vector;

// acc[r][c] = sum over i of a[r * row + i * step] (broadcast) * b[i][c], the inner loop of both
// products. R x C accumulators stay in registers.
template <int R, int C>
inline void MicroProduct(const float* a, int64_t row, int64_t step, const float* b, int64_t count,
                         Vector (&acc)[R][C]) {
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) acc[r][c] = Simd::Zero();
  }
  for (int64_t i = 0; i < count; ++i) {
    Vector vectors[C];
    for (int c = 0; c < C; ++c) vectors[c] = Simd::Load(b + c * Simd::kLanes);
    for (int r = 0; r < R; ++r) {
      const Vector one = Simd::Set(a[r * row]);
      for (int c = 0; c < C; ++c) acc[r][c] = Simd::MulAdd(one, vectors[c], acc[r][c]);
    }
    a += step;
    b += C * Simd::kLanes;
  }
}

// S [R][C] of R keys, and the running maximum of each lane.
template <int R, int C>
inline void ScoreMicroTile(const float* keys, int64_t head_size, const float* q, float* scores,
                           Vector (&maximum)[C]) {
  Vector acc[R][C];
  MicroProduct<R, C>(keys, head_size, 1, q, head_size, acc);
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      maximum[c] = Simd::Max(maximum[c], acc[r][c]);
      Simd::Store(scores + (r * C + c) * Simd::kLanes, acc[r][c]);
    }
  }
}

// O [R][C] = O * keep + sum over the keys of V[key][0 .. R) * P[key].
template <int R, int C>
inline void SumMicroTile(const float* values, int64_t head_size, const float* weights, int64_t keys,
                         const Vector (&keep)[C], float* sums) {
  Vector acc[R][C];
  MicroProduct<R, C>(values, 1, head_size, weights, keys, acc);
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      float* at = sums + (r * C + c) * Simd::kLanes;
      Simd::Store(at, Simd::MulAdd(Simd::Load(at), keep[c], acc[r][c]));
    }
  }
}

// Calls product(constant<R>) for the `rest` < kMicroRows rows that are left in the end.
template <class F>
inline void LastRows(int64_t rest, F&& product) {
  [&]<int... R>(std::integer_sequence<int, R...>) {
    ((rest == R + 1 ? product(std::integral_constant<int, R + 1>()) : void()), ...);
  }(std::make_integer_sequence<int, Simd::kMicroRows - 1>());
}

// One panel of C * kLanes queries against `keys` copied rows.
template <int C, class Prefetch>
void AttendPanel(const float* q, const float* k, const float* v, int64_t keys, int64_t head_size,
                 float* scores, float* maximum, float* sum, float* out, Prefetch&& prefetch) {
  constexpr int kWidth = C * Simd::kLanes;
  Vector before[C];
  Vector above[C];
  for (int c = 0; c < C; ++c) above[c] = before[c] = Simd::Load(maximum + c * Simd::kLanes);
  int64_t key = 0;
  for (; key + Simd::kMicroRows <= keys; key += Simd::kMicroRows) {
    prefetch();
    ScoreMicroTile<Simd::kMicroRows, C>(k + key * head_size, head_size, q, scores + key * kWidth,
                                        above);
  }
  LastRows(keys - key, [&](auto rows) {
    ScoreMicroTile<decltype(rows)::value, C>(k + key * head_size, head_size, q,
                                             scores + key * kWidth, above);
  });

  Vector keep[C];
  Vector total[C];  // of this block alone: a sum of block sums loses less than one long sum
  for (int c = 0; c < C; ++c) {
    keep[c] = Simd::Exp2(Simd::Sub(before[c], above[c]));
    total[c] = Simd::Zero();
    Simd::Store(maximum + c * Simd::kLanes, above[c]);
  }
  for (key = 0; key < keys; ++key) {
    for (int c = 0; c < C; ++c) {
      float* at = scores + key * kWidth + c * Simd::kLanes;
      const Vector weight = Simd::Exp2(Simd::Sub(Simd::Load(at), above[c]));
      total[c] = Simd::Add(total[c], weight);
      Simd::Store(at, weight);
    }
  }
  for (int c = 0; c < C; ++c) {
    float* at = sum + c * Simd::kLanes;
    Simd::Store(at, Simd::MulAdd(Simd::Load(at), keep[c], total[c]));
  }

  int64_t d = 0;
  for (; d + Simd::kMicroRows <= head_size; d += Simd::kMicroRows) {
    prefetch();
    SumMicroTile<Simd::kMicroRows, C>(v + d, head_size, scores, keys, keep, out + d * kWidth);
  }
  LastRows(head_size - d, [&](auto rows) {
    SumMicroTile<decltype(rows)::value, C>(v + d, head_size, scores, keys, keep, out + d * kWidth);
  });
}

struct MicroKernel {
  static constexpr int64_t kBlockKeys = 60;      // a multiple of kMicroRows: 3% faster than 64
  static constexpr int64_t kMostGroupHeads = 4;  // their Q and O stay in a level-2 cache of 512 KiB
  static constexpr bool kCopyTogether = false;   // in float32 K and V of one head fill the cache
  static constexpr int64_t kPrefetchRows = 16;   // at once: 1.14 times faster than one by one
  static constexpr int64_t kLanes = Simd::kLanes;
  static constexpr int64_t kPanelQueries = Simd::kMicroVectors * Simd::kLanes;

  struct Session {
    Session() {}  // nothing to prepare in a thread
  };

  static int64_t QueryFloats(int64_t head_size) { return head_size * kBlockQueries; }

  static constexpr int64_t RowFloats(int64_t head_size) { return head_size; }

  // S [kBlockKeys][width].
  static int64_t ScratchFloats(int64_t) { return kBlockKeys * kPanelQueries; }

  template <int64_t kSize>
  static void CopyRow(const char* from, DType dtype, float* to) {
#pragma GCC unroll 16
    for (int64_t d = 0; d < kSize; d += Simd::kLanes) {
      Simd::Store(to + d, Simd::LoadAs(from + d * static_cast<int64_t>(SizeOf(dtype)), dtype));
    }
  }

  // Q times scale * log2(e), so that scores are powers of two: [panels][D][width].
  static void PackQueries(const CrossAttentionParams& p, const Block& block, float* to) {
    const float factor = p.scale * kLog2E;
    std::fill_n(to, p.head_size * kBlockQueries, 0.0f);  // lanes without a query
    alignas(64) float row[kLargestHeadSize];
    for (int64_t i = 0; i < block.queries; ++i) {
      const char* from = Row(p.q, p.dtype, block.b, block.h, block.first_query + i);
      for (int64_t d = 0; d < p.head_size; d += Simd::kLanes) {
        Simd::Store(row + d,
                    Simd::LoadAs(from + d * static_cast<int64_t>(SizeOf(p.dtype)), p.dtype));
      }
      const Lane lane = FindLane(i, block.queries, p.head_size, kPanelQueries, Simd::kLanes);
      for (int64_t d = 0; d < p.head_size; ++d) to[lane.start + d * lane.width] = row[d] * factor;
    }
  }

  // How many times Attend calls `prefetch`: before every micro-product.
  static int64_t Steps(int64_t queries, int64_t keys, int64_t head_size) {
    return DivideUp(queries, kPanelQueries) *
           ((keys + head_size + 2 * Simd::kMicroRows - 2) / Simd::kMicroRows);
  }

  // Adds `count` keys, k and v [kBlockKeys][D], to the part of a block.
  template <class Prefetch>
  static void Attend(const CrossAttentionParams& p, const Block& block, int64_t count,
                     const float* q, const float* k, const float* v, const Part& part,
                     float* scores, Prefetch&& prefetch) {
    const int64_t d = p.head_size;
    for (int64_t query = 0; query < block.queries; query += kPanelQueries) {
      const Lane lane = FindLane(query, block.queries, d, kPanelQueries, Simd::kLanes);
      const auto attend = [&](auto vectors) {
        AttendPanel<decltype(vectors)::value>(q + lane.start, k, v, count, d, scores,
                                              part.maximum + query, part.sum + query,
                                              part.out + lane.start, prefetch);
      };
      [&]<int... C>(std::integer_sequence<int, C...>) {
        ((lane.width == (C + 1) * Simd::kLanes ? attend(std::integral_constant<int, C + 1>())
                                               : void()),
         ...);
      }(std::make_integer_sequence<int, Simd::kMicroVectors>());
    }
  }
};

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
