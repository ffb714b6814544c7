// The two products of flash_attention.h on AMX, with sums in float32. Operands in bfloat16 are
// multiplied as they are; float32 and float16 are split in three terms of bfloat16, which is as
// exact as float32 (kernels/cpu/gemm/gemm_amx.h).
//
//   S [keys][queries]  A = K as it lies   B = Q, pairs of d side by side   (packed once per task)
//   O [D][queries]     A = V^T            B = P, pairs of keys side by side
//
// so that P comes out of the softmax as the second product needs it, and of each block of keys only
// V is transposed. D is padded with zeros to a multiple of 32 in S. Rows and tiles that are split
// are those of the terms, one after the other.
//
// The steps follow one another: to interleave tiles and vectors was measured and gains nothing (in
// bfloat16 32 keys and 32 queries at D = 64 take 138 ns in tiles, 93 ns in vectors and 218 ns
// interleaved; in float32 weights beside the products of other steps take as long as after them).
// With zeros as data they do overlap, by a fifth of the time: it seems to be power that they share.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/attention/block.h"
#include "kernels/cpu/attention/packing_amx.h"
#include "kernels/cpu/attention/softmax_amx.h"
#include "kernels/cpu/gemm/micro_kernel_amx.h"

#ifdef G4V_AMX

G4V_PUSH_TARGET(G4V_AMX_FEATURES)
namespace g4v::kernels::amx {

// The scores S of 32 keys, as tiles [2][C][16][16]. k: [32][kTerms][padded D]; q: [padded D / 32]
// [kTerms][C tiles].
template <int C, int kTerms>
inline void ScoreTiles(const uint16_t* k, const uint16_t* q, int64_t padded, float* scores) {
  Fence();
  ClearSums<2, C>();
  const int64_t row = kTerms * padded;
  for (int64_t d = 0; d < padded; d += 32, q += kTerms * C * kTileWords) {
    Products<2, C, kTerms>({{k + d, k + kTile * row + d}, row * 2, padded}, q, [] {});
  }
  StoreSums<2, C>(scores, 64, kTile * kTile, C * kTile * kTile);
  Fence();
}

// O [R * 16][C * 16] += V^T P of `steps` * 32 keys. v: [steps][kTerms][D][32], from the first row
// on; weights: P as [steps][kTerms][C tiles].
template <int R, int C, int kTerms>
inline void SumRows(const uint16_t* v, const uint16_t* weights, int64_t head_size, int64_t steps,
                    float* out) {
  LoadSums<R, C>(out, C * 64, kTile, C * kTile * kTile);
  for (int64_t i = 0; i < steps; ++i, v += kTerms * head_size * kTileDepth) {
    Products<R, C, kTerms>({{v, v + kTileWords}, 64, head_size * kTileDepth},
                           weights + i * kTerms * C * kTileWords, [] {});
  }
  StoreSums<R, C>(out, C * 64, kTile, C * kTile * kTile);
}

// O [D][C * 16] += V^T P.
template <int C, int kTerms>
inline void SumTiles(const uint16_t* v, const uint16_t* weights, int64_t head_size, int64_t steps,
                     float* out) {
  Fence();
  int64_t d = 0;
  for (; d + 32 <= head_size; d += 32) {
    SumRows<2, C, kTerms>(v + d * kTileDepth, weights, head_size, steps, out + d * C * kTile);
  }
  if (d < head_size) {  // of 80
    SumRows<1, C, kTerms>(v + d * kTileDepth, weights, head_size, steps, out + d * C * kTile);
  }
  Fence();
}

// A panel of up to 16 queries (one column of tiles) or 32 (two).
struct Panel {
  const uint16_t* q;  // tiles [padded D / 32][kTerms][columns][16 pairs][16 queries][2]
  float* maximum;
  float* sum;
  float* out;  // [D][columns * 16]
};

// kTerms: 1 for operands in bfloat16; 3 for others, which are split.
template <int kTerms>
struct MicroKernel : Packing<kTerms> {
  using Layout = Packing<kTerms>;
  using Session = TileSession;
  static constexpr int64_t kLanes = 16;
  static constexpr int64_t kPanelQueries = amx::kPanelQueries;
  static constexpr int64_t kBlockKeys = 128;
  static constexpr int64_t kMostGroupHeads = 8;
  // The rows of eight heads are one run of memory that the processor prefetches by itself. Asking
  // for them earlier was measured and costs the products as much as it saves, or more (float32).
  static constexpr bool kCopyTogether = true;
  static constexpr int64_t kPrefetchRows = 1;

  static int64_t ScratchFloats(int64_t head_size) {
    const int64_t keys = kTerms == 1 ? 0 : kTerms * kBlockKeys * Layout::Padded(head_size) / 2;
    return keys + kTerms * kBlockKeys * (head_size + kPanelQueries) / 2 +
           kTileDepth * kPanelQueries;
  }

  // Attend does not call `prefetch`.
  static int64_t Steps(int64_t, int64_t, int64_t) { return 1; }

  // Adds `count` keys, key_rows and value_rows [kBlockKeys][RowFloats], to the part of a block.
  template <class Prefetch>
  static void Attend(const CrossAttentionParams& p, const Block& block, int64_t count,
                     const float* q, const float* key_rows, const float* value_rows,
                     const Part& part, float* memory, Prefetch&&) {
    const int64_t d = p.head_size;
    // V as tiles [steps][kTerms][D / 16][16 d][32 keys]; the weights P as tiles [steps][kTerms]
    // [columns][16 pairs][16 queries][2]; S of 32 keys; if K is split, [kBlockKeys][kTerms][padded D]
    auto* const v = reinterpret_cast<uint16_t*>(memory);
    uint16_t* const weights = v + kTerms * kBlockKeys * d;
    auto* const scores = reinterpret_cast<float*>(weights + kTerms * kBlockKeys * kPanelQueries);
    const auto* k = reinterpret_cast<const uint16_t*>(key_rows);
    if constexpr (kTerms > 1) {
      auto* const split = reinterpret_cast<uint16_t*>(scores + kTileDepth * kPanelQueries);
      for (int64_t key = 0; key < count; ++key) {
        Layout::SplitRow(key_rows + key * d, d, split + key * kTerms * Layout::Padded(d));
      }
      k = split;
    }
    Layout::PackValues(value_rows, d, count, v);
    for (int64_t query = 0; query < block.queries; query += kPanelQueries) {
      const Panel panel{reinterpret_cast<const uint16_t*>(q) + kTerms * query * Layout::Padded(d),
                        part.maximum + query, part.sum + query, part.out + query * d};
      const auto attend = [&](auto columns) {
        AttendPanel<decltype(columns)::value>(k, v, count, d, p.scale * kLog2E, panel, weights,
                                              scores);
      };
      if (TileColumns(block, query) == 2) {
        attend(std::integral_constant<int, 2>());
      } else {
        attend(std::integral_constant<int, 1>());
      }
    }
  }

 private:
  template <int C>
  static void AttendPanel(const uint16_t* k, const uint16_t* v, int64_t count, int64_t head_size,
                          float scale, const Panel& panel, uint16_t* weights, float* scores) {
    const int64_t padded = Layout::Padded(head_size);
    // Scores past the last key are computed too, up to a multiple of 32, and not used.
    const auto each = [&](auto&& use) {
      for (int64_t key = 0; key < count; key += kTileDepth) {
        ScoreTiles<C, kTerms>(k + key * kTerms * padded, panel.q, padded, scores);
        use(key, std::min(count - key, kTileDepth));
      }
    };
    __m512 total[C] = {};
    const auto weigh = [&](int64_t key, int64_t keys) {
      Weigh<C, kTerms>(scores, keys, scale, panel.maximum, weights + key * kTerms * C * kTile,
                       total);
    };
    const bool fresh = panel.maximum[0] == std::numeric_limits<float>::lowest();
    each([&](int64_t key, int64_t keys) {
      if (fresh && key == 0) RaiseMaximum<C>(scores, keys, scale, panel.maximum);
      weigh(key, keys);
    });
    if (!WithinLimit<C>(total)) {
      __m512 keep[C];
      for (int c = 0; c < C; ++c) keep[c] = _mm512_loadu_ps(panel.maximum + c * kTile);
      each([&](int64_t, int64_t keys) { RaiseMaximum<C>(scores, keys, scale, panel.maximum); });
      for (int c = 0; c < C; ++c) {
        keep[c] = Simd::Exp2(_mm512_sub_ps(keep[c], _mm512_loadu_ps(panel.maximum + c * kTile)));
        total[c] = _mm512_setzero_ps();
      }
      Correct<C>(panel, head_size, keep);
      each(weigh);
    }
    for (int c = 0; c < C; ++c) {
      float* at = panel.sum + c * kTile;
      const __m512 sum = _mm512_loadu_ps(at);
      const __m512 rounded = _mm512_set1_ps(kTerms == 1 ? 1.0f / kRoundUp : 1.0f);
      _mm512_storeu_ps(at, _mm512_fmadd_ps(total[c], rounded, sum));
    }
    SumTiles<C, kTerms>(v, weights, head_size, DivideUp(count, kTileDepth), panel.out);
  }

  // Multiplies the sums of a panel so far by `keep`.
  template <int C>
  static void Correct(const Panel& panel, int64_t head_size, const __m512 (&keep)[C]) {
    for (int c = 0; c < C; ++c) {
      const auto correct = [&](float* at) {
        _mm512_storeu_ps(at, _mm512_mul_ps(_mm512_loadu_ps(at), keep[c]));
      };
      correct(panel.sum + c * kTile);
      for (int64_t d = 0; d < head_size; ++d) correct(panel.out + (d * C + c) * kTile);
    }
  }
};

}  // namespace g4v::kernels::amx
G4V_POP_TARGET

#endif  // G4V_AMX
