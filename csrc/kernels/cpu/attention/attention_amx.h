// The two products and the softmax of blocked.h on AMX tiles, with float32 sums: in bfloat16, or in
// float32 whose values are sums of three of bfloat16 (kernels/cpu/gemm/gemm_amx.h).
//
// A tile product is C [16][16] += A [16 rows][32] B [32][16 columns], B with neighbouring pairs of
// its 32 side by side ([16 pairs][16 columns][2]):
//
//   S [keys][queries]  A = K as it lies        B = Q, its pairs of d side by side   (once per task)
//   O [D][queries]     A = V^T                 B = P, its pairs of keys side by side
//
// so that P comes out of the softmax as the second product wants it, and of each block of keys only
// V is transposed. D is padded with zeros to a multiple of 32 in S. As the instruction has it,
// subnormal inputs count as zeros. Rows and tiles of float32 are those of its pieces, one after the
// other.
//
// Each step is done for itself: to interleave tiles and vectors was measured and gains nothing (in
// bfloat16 32 keys and 32 queries at D = 64 take 138 ns in tiles, 93 ns in vectors and 218 ns
// interleaved; in float32 weights beside the products of other steps take as long as after them).
// Of zeros they do overlap, a fifth of the time: it seems to be power that they share.
//
// Where flash attention corrects O with every new maximum, here the exponents of a panel stay
// relative to the maximum of its first 32 keys until the weights of a block add up to more than
// kMostWeight: bfloat16 and float32 lose nothing by larger weights. Then, and only then, the
// maximum is taken over the block and the sums before are corrected.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/cpu/attention/block.h"
#include "kernels/cpu/attention/rows.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm/micro_kernel_amx.h"

namespace g4v::kernels {
namespace {

constexpr float kMostWeight = 16384.0f;  // of the keys of a block together
// Weights of bfloat16 are rounded by cutting off 16 bits, after they were made larger by what that
// takes from them on average.
constexpr float kRoundUp = 1.0f + 0.7213f / 256;

// Which of 32 16-bit values at `d` lie inside a row of head_size.
inline __mmask32 InRow(int64_t d, int64_t head_size) {
  return head_size - d >= 32 ? 0xFFFFFFFFu : (1u << (head_size - d)) - 1;
}

// 2^x * kRoundUp for any x; relative error 7.5e-5, where bfloat16 has 3.9e-3. The polynomial is
// the minimax one of degree 3 for the relative error of 2^f, f in [0, 1).
inline __m512 RoundedUpExp2(__m512 x) {
  const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
  __m512 p = _mm512_set1_ps(0.07802452147006989f * kRoundUp);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.22606715559959412f * kRoundUp));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.6958335638046265f * kRoundUp));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.9999251961708069f * kRoundUp));
  return _mm512_scalef_ps(p, x);  // takes floor(x) itself
}

// A panel of up to 16 queries (one column of tiles) or 32 (two).
struct TilePanel {
  const uint16_t* q;  // tiles [padded D / 32][P][columns][16 pairs][16 queries][2]
  float* maximum;
  float* sum;
  float* out;  // [D][columns * 16]
};

// P: pieces of a value, 1 for bfloat16, 3 for what is computed in float32.
template <int P>
struct TilePanels {
  static constexpr int64_t kBlockKeys = 128;
  static constexpr int64_t kMostGroupHeads = 8;
  // The rows of eight heads are one run of memory that the processor prefetches by itself. Asking
  // for them earlier was measured and costs the products as much as it saves, or more (float32).
  static constexpr bool kCopyTogether = true;
  static constexpr int64_t kPanelQueries = 32;
  using Session = TileSession;

  static constexpr int64_t Padded(int64_t head_size) { return (head_size + 31) / 32 * 32; }
  static int64_t QueryFloats(int64_t head_size) {
    return P * Padded(head_size) * kBlockQueries / 2;
  }
  // Of a copied row. In float32 it is split later, so that the copying waits for nothing but
  // memory.
  static constexpr int64_t RowFloats(int64_t head_size) {
    return P == 1 ? Padded(head_size) / 2 : head_size;
  }
  static int64_t ScratchFloats(int64_t head_size) {
    const int64_t keys = P == 1 ? 0 : P * kBlockKeys * Padded(head_size) / 2;
    return keys + P * kBlockKeys * (head_size + kPanelQueries) / 2 + kTileKeys * kPanelQueries;
  }

  // bfloat16 as it is, zeros up to the padded D; or float32.
  template <int64_t kSize>
  static void CopyRow(const char* from, DType dtype, float* to) {
    if constexpr (P == 1) {
#pragma GCC unroll 4
      for (int64_t d = 0; d < kSize; d += 32) {
        _mm512_storeu_si512(to + d / 2, _mm512_maskz_loadu_epi16(InRow(d, kSize), from + 2 * d));
      }
    } else {
#pragma GCC unroll 8
      for (int64_t d = 0; d < kSize; d += 16) {
        Simd::Store(to + d, Simd::LoadAs(from + d * static_cast<int64_t>(SizeOf(dtype)), dtype));
      }
    }
  }

  static void PackQueries(const CrossAttentionParams& p, const Block& block, float* to) {
    auto* tile = reinterpret_cast<uint16_t*>(to);
    for (int64_t first = 0; first < block.queries; first += kPanelQueries) {
      const int64_t columns = Columns(block, first);
      for (int64_t d = 0; d < p.head_size; d += 32, tile += P * columns * kTileWords) {
        for (int64_t c = 0; c < columns; ++c) {
          __m512i rows[P][16];
          for (int64_t i = 0; i < 16; ++i) {
            const int64_t query = first + c * kTile + i;
            __m512i pieces[P] = {};
            if (query < block.queries) {
              LoadPieces(Row(p.q, p.dtype, block.b, block.h, block.first_query + query), p.dtype, d,
                         p.head_size, pieces);
            }
            for (int j = 0; j < P; ++j) rows[j][i] = pieces[j];
          }
          for (int j = 0; j < P; ++j) {
            Transpose(rows[j]);
            uint16_t* const at = tile + (j * columns + c) * kTileWords;
            for (int64_t i = 0; i < 16; ++i) _mm512_storeu_si512(at + i * 32, rows[j][i]);
          }
        }
      }
    }
  }

  static int64_t Steps(int64_t, int64_t, int64_t) { return 1; }

  // Adds `count` keys, key_rows and value_rows [kBlockKeys][RowFloats], to the part of a block.
  template <class Prefetch>
  static void Attend(const CrossAttentionParams& p, const Block& block, int64_t count,
                     const float* q, const float* key_rows, const float* value_rows,
                     const Part& part, float* memory, Prefetch&&) {
    const int64_t d = p.head_size;
    // V as tiles [steps][P][D / 16][16 d][32 keys], weights as tiles [steps][P][columns][16 pairs]
    // [16 queries][2], S of 32 keys and, where it is split, K [kBlockKeys][P][padded D].
    auto* const v = reinterpret_cast<uint16_t*>(memory);
    uint16_t* const weights = v + P * kBlockKeys * d;
    auto* const scores = reinterpret_cast<float*>(weights + P * kBlockKeys * kPanelQueries);
    const auto* k = reinterpret_cast<const uint16_t*>(key_rows);
    if constexpr (P > 1) {
      auto* const split = reinterpret_cast<uint16_t*>(scores + kTileKeys * kPanelQueries);
      for (int64_t key = 0; key < count; ++key) {
        SplitRow(key_rows + key * d, d, split + key * P * Padded(d));
      }
      k = split;
    }
    PackValues(value_rows, d, count, v);
    for (int64_t query = 0; query < block.queries; query += kPanelQueries) {
      const TilePanel panel{reinterpret_cast<const uint16_t*>(q) + P * query * Padded(d),
                            part.maximum + query, part.sum + query, part.out + query * d};
      const auto attend = [&](auto columns) {
        AttendPanel<decltype(columns)::value>(k, v, count, d, p.scale * kLog2E, panel, weights,
                                              scores);
      };
      if (Columns(block, query) == 2) {
        attend(std::integral_constant<int, 2>());
      } else {
        attend(std::integral_constant<int, 1>());
      }
    }
  }

 private:
  static int64_t Columns(const Block& block, int64_t query) {
    return block.queries - query > kTile ? 2 : 1;
  }

  // 32 values of a row from `d` on, in pieces; zeros past its end.
  static void LoadPieces(const char* row, DType dtype, int64_t d, int64_t head_size,
                         __m512i (&pieces)[P]) {
    const char* at = row + d * static_cast<int64_t>(SizeOf(dtype));
    if constexpr (P == 1) {
      pieces[0] = _mm512_maskz_loadu_epi16(InRow(d, head_size), at);
    } else {
      const char* half = at + 16 * static_cast<int64_t>(SizeOf(dtype));
      __m512 first[P];
      __m512 second[P];
      Split(Simd::LoadAs(at, dtype), first);
      Split(head_size - d > 16 ? Simd::LoadAs(half, dtype) : Simd::Zero(), second);
      for (int i = 0; i < P; ++i) pieces[i] = Narrow(first[i], second[i]);
    }
  }

  // [P][padded D].
  static void SplitRow(const float* row, int64_t head_size, uint16_t* to) {
    for (int64_t d = 0; d < head_size; d += 32) {
      __m512i pieces[P];
      LoadPieces(reinterpret_cast<const char*>(row), DType::kFloat32, d, head_size, pieces);
      for (int i = 0; i < P; ++i) _mm512_storeu_si512(to + i * Padded(head_size) + d, pieces[i]);
    }
  }

  // The tiles of `count` rows, and of zeros for no key.
  static void PackValues(const float* rows, int64_t head_size, int64_t count, uint16_t* to) {
    for (int64_t first = 0; first < count; first += kTileKeys) {
      const float* step = rows + first * RowFloats(head_size);
      if constexpr (P == 1) {
        PackStep(reinterpret_cast<const uint16_t*>(step), head_size, count - first, to);
      } else {
        PackSplitStep(step, head_size, count - first, to);
      }
      to += P * head_size * kTileKeys;
    }
  }

  static void PackSplitStep(const float* rows, int64_t head_size, int64_t count, uint16_t* to) {
    for (int64_t d = 0; d < head_size; d += 16, to += 16 * kTileKeys) {
      __m512i pairs[P][16];  // neighbouring keys, side by side, at d + lane
      for (int64_t i = 0; i < 16; ++i) {
        const float* at = rows + 2 * i * head_size + d;
        __m512 even[P];
        __m512 odd[P];
        Split(2 * i < count ? Simd::Load(at) : Simd::Zero(), even);
        Split(2 * i + 1 < count ? Simd::Load(at + head_size) : Simd::Zero(), odd);
        for (int j = 0; j < P; ++j) pairs[j][i] = Pair(even[j], odd[j]);
      }
      for (int j = 0; j < P; ++j) {
        Transpose(pairs[j]);
        uint16_t* const tile = to + j * head_size * kTileKeys;
        for (int64_t i = 0; i < 16; ++i) _mm512_storeu_si512(tile + i * kTileKeys, pairs[j][i]);
      }
    }
  }

  static void PackStep(const uint16_t* rows, int64_t head_size, int64_t count, uint16_t* to) {
    const int64_t stride = Padded(head_size);
    for (int64_t d = 0; d < head_size; d += 32) {
      __m512i low[16];   // pairs of keys, side by side, at d + 8 * lane + 0 .. 3
      __m512i high[16];  // and + 4 .. 7
      for (int64_t i = 0; i < 16; ++i) {
        const uint16_t* at = rows + 2 * i * stride + d;
        const __m512i even = 2 * i < count ? _mm512_loadu_si512(at) : _mm512_setzero_si512();
        const __m512i odd =
            2 * i + 1 < count ? _mm512_loadu_si512(at + stride) : _mm512_setzero_si512();
        low[i] = _mm512_unpacklo_epi16(even, odd);
        high[i] = _mm512_unpackhi_epi16(even, odd);
      }
      Transpose(low);
      Transpose(high);
      for (int64_t i = 0; i < 16; ++i) {
        const int64_t row = d + i / 4 * 8 + i % 4;
        if (row >= head_size) break;
        uint16_t* at = to + row * kTileKeys;  // rows of the tiles follow one another
        _mm512_storeu_si512(at, low[i]);
        _mm512_storeu_si512(at + 4 * kTileKeys, high[i]);
      }
    }
  }

  template <int C>
  static void AttendPanel(const uint16_t* k, const uint16_t* v, int64_t count, int64_t head_size,
                          float scale, const TilePanel& panel, uint16_t* weights, float* scores) {
    const int64_t padded = Padded(head_size);
    // Scores of rows past the last key are computed too, up to a multiple of 32, and thrown away.
    const auto each = [&](auto&& use) {
      for (int64_t key = 0; key < count; key += kTileKeys) {
        TileScores<C, P>(k + key * P * padded, panel.q, padded, scores);
        use(key, std::min(count - key, kTileKeys));
      }
    };
    __m512 total[C] = {};
    const auto weigh = [&](int64_t key, int64_t keys) {
      Weigh<C>(scores, keys, scale, panel.maximum, weights + key * P * C * kTile, total);
    };
    const bool fresh = panel.maximum[0] == std::numeric_limits<float>::lowest();
    each([&](int64_t key, int64_t keys) {
      if (fresh && key == 0) Maximum<C>(scores, keys, scale, panel.maximum);
      weigh(key, keys);
    });
    if (!Within<C>(total)) {
      __m512 keep[C];
      for (int c = 0; c < C; ++c) keep[c] = _mm512_loadu_ps(panel.maximum + c * kTile);
      each([&](int64_t, int64_t keys) { Maximum<C>(scores, keys, scale, panel.maximum); });
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
      const __m512 rounded = _mm512_set1_ps(P == 1 ? 1.0f / kRoundUp : 1.0f);
      _mm512_storeu_ps(at, _mm512_fmadd_ps(total[c], rounded, sum));
    }
    TileSums<C, P>(v, weights, head_size, (count + kTileKeys - 1) / kTileKeys, panel.out);
  }

  template <int C>
  static bool Within(const __m512 (&total)[C]) {
    __mmask16 within = 0xFFFF;
    for (int c = 0; c < C; ++c) {  // a NaN is not
      within &= _mm512_cmp_ps_mask(total[c], _mm512_set1_ps(kMostWeight), _CMP_LE_OQ);
    }
    return within == 0xFFFF;
  }

  // What a panel summed up before, times `keep`.
  template <int C>
  static void Correct(const TilePanel& panel, int64_t head_size, const __m512 (&keep)[C]) {
    for (int c = 0; c < C; ++c) {
      const auto correct = [&](float* at) {
        _mm512_storeu_ps(at, _mm512_mul_ps(_mm512_loadu_ps(at), keep[c]));
      };
      correct(panel.sum + c * kTile);
      for (int64_t d = 0; d < head_size; ++d) correct(panel.out + (d * C + c) * kTile);
    }
  }

  // The maximum of every query's scores, in powers of two, and of what was there; NaN is passed
  // over.
  template <int C>
  static void Maximum(const float* scores, int64_t keys, float scale, float* maximum) {
    for (int c = 0; c < C; ++c) {
      __m512 above = _mm512_loadu_ps(maximum + c * kTile);
      for (int64_t i = 0; i < keys; ++i) {
        const float* at = scores + (i / kTile * C + c) * kTile * kTile + i % kTile * kTile;
        above = _mm512_max_ps(_mm512_mul_ps(_mm512_loadu_ps(at), _mm512_set1_ps(scale)), above);
      }
      _mm512_storeu_ps(maximum + c * kTile, above);
    }
  }

  // P of 32 keys (or `keys`, then zeros) from their scores, and the sum of every query's.
  template <int C>
  static void Weigh(const float* scores, int64_t keys, float scale, const float* maximum,
                    uint16_t* weights, __m512 (&total)[C]) {
    const __m512 factor = _mm512_set1_ps(scale);
    __m512 top[C];
    for (int c = 0; c < C; ++c) top[c] = _mm512_loadu_ps(maximum + c * kTile);
    const auto weight = [&](const float* at, int c) {
      const __m512 x = _mm512_fmsub_ps(_mm512_loadu_ps(at), factor, top[c]);
      return P == 1 ? RoundedUpExp2(x) : Simd::Exp2(x);
    };
#pragma GCC unroll 2
    for (int64_t pair = 0; pair < kTile; ++pair) {
      const float* rows = scores + pair / 8 * C * kTile * kTile + pair % 8 * 2 * kTile;
      for (int c = 0; c < C; ++c) {
        const float* at = rows + c * kTile * kTile;
        __m512 even = weight(at, c);
        __m512 odd = weight(at + kTile, c);
        if (__builtin_expect(pair * 2 + 1 >= keys, 0)) {
          if (pair * 2 >= keys) even = _mm512_setzero_ps();
          odd = _mm512_setzero_ps();
        }
        total[c] = _mm512_add_ps(total[c], _mm512_add_ps(even, odd));
        uint16_t* to = weights + c * kTileWords + pair * 32;
        if constexpr (P == 1) {
          _mm512_storeu_si512(to, Pair(even, odd));
        } else {
          __m512 evens[P];
          __m512 odds[P];
          Split(even, evens);
          Split(odd, odds);
          for (int i = 0; i < P; ++i, to += C * kTileWords) {
            _mm512_storeu_si512(to, Pair(evens[i], odds[i]));
          }
        }
      }
    }
  }
};

}  // namespace
}  // namespace g4v::kernels
