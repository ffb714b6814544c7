// How the operands of the attention are laid out for AMX, and split in terms of bfloat16 where they
// are not bfloat16 (kernels/cpu/simd/bf16_split.h).
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/attention/block.h"
#include "kernels/cpu/attention/rows.h"
#include "kernels/cpu/simd/amx_tiles.h"
#include "kernels/cpu/simd/bf16_split.h"
#include "kernels/cpu/simd/simd.h"

#ifdef G4V_AMX

G4V_PUSH_TARGET(G4V_AMX_FEATURES)
namespace g4v::kernels::amx {

constexpr int64_t kPanelQueries = 32;  // two columns of tiles

// Columns of tiles, 16 queries each, of the panel that begins with a block's query `query`.
inline int64_t TileColumns(const Block& block, int64_t query) {
  return block.queries - query > kTile ? 2 : 1;
}

// Which of 32 16-bit values at `d` lie inside a row of head_size.
inline __mmask32 InRow(int64_t d, int64_t head_size) {
  return head_size - d >= 32 ? 0xFFFFFFFFu : (1u << (head_size - d)) - 1;
}

// kTerms: 1 for operands in bfloat16; 3 for others, which are split.
template <int kTerms>
struct Packing {
  // D padded to whole tiles.
  static constexpr int64_t Padded(int64_t head_size) { return (head_size + 31) / 32 * 32; }
  static int64_t QueryFloats(int64_t head_size) {
    return kTerms * Padded(head_size) * kBlockQueries / 2;
  }
  // Of a copied row. Where it is split, that is done later, so that copying waits for nothing but
  // the memory.
  static constexpr int64_t RowFloats(int64_t head_size) {
    return kTerms == 1 ? Padded(head_size) / 2 : head_size;
  }

  // Copies a row: bfloat16 as it is, with zeros up to the padded D; others as float32.
  template <int64_t kSize>
  static void CopyRow(const char* from, DType dtype, float* to) {
    if constexpr (kTerms == 1) {
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

  // The queries of a block as right factors, in panels: tiles [padded D / 32][kTerms][columns]
  // [16 pairs of d][16 queries][2].
  static void PackQueries(const CrossAttentionParams& p, const Block& block, float* to) {
    auto* tile = reinterpret_cast<uint16_t*>(to);
    for (int64_t first = 0; first < block.queries; first += kPanelQueries) {
      const int64_t columns = TileColumns(block, first);
      for (int64_t d = 0; d < p.head_size; d += 32, tile += kTerms * columns * kTileWords) {
        for (int64_t c = 0; c < columns; ++c) {
          __m512i rows[kTerms][16];
          for (int64_t i = 0; i < 16; ++i) {
            const int64_t query = first + c * kTile + i;
            __m512i terms[kTerms] = {};
            if (query < block.queries) {
              LoadTerms(Row(p.q, p.dtype, block.b, block.h, block.first_query + query), p.dtype, d,
                        p.head_size, terms);
            }
            for (int j = 0; j < kTerms; ++j) rows[j][i] = terms[j];
          }
          for (int j = 0; j < kTerms; ++j) {
            Transpose(rows[j]);
            uint16_t* const at = tile + (j * columns + c) * kTileWords;
            for (int64_t i = 0; i < 16; ++i) _mm512_storeu_si512(at + i * 32, rows[j][i]);
          }
        }
      }
    }
  }

  // 32 values of a row from `d` on, in terms; zeros past its end.
  static void LoadTerms(const char* row, DType dtype, int64_t d, int64_t head_size,
                        __m512i (&terms)[kTerms]) {
    const char* at = row + d * static_cast<int64_t>(SizeOf(dtype));
    if constexpr (kTerms == 1) {
      terms[0] = _mm512_maskz_loadu_epi16(InRow(d, head_size), at);
    } else {
      const char* half = at + 16 * static_cast<int64_t>(SizeOf(dtype));
      __m512 first[kTerms];
      __m512 second[kTerms];
      Split(Simd::LoadAs(at, dtype), first);
      Split(head_size - d > 16 ? Simd::LoadAs(half, dtype) : Simd::Zero(), second);
      for (int i = 0; i < kTerms; ++i) terms[i] = ToBFloat16(first[i], second[i]);
    }
  }

  // A row of float32 as [kTerms][padded D].
  static void SplitRow(const float* row, int64_t head_size, uint16_t* to) {
    for (int64_t d = 0; d < head_size; d += 32) {
      __m512i terms[kTerms];
      LoadTerms(reinterpret_cast<const char*>(row), DType::kFloat32, d, head_size, terms);
      for (int i = 0; i < kTerms; ++i)
        _mm512_storeu_si512(to + i * Padded(head_size) + d, terms[i]);
    }
  }

  // `count` rows of V as left factors: tiles [steps][kTerms][D / 16][16 d][32 keys]; zeros for keys
  // past the last one.
  static void PackValues(const float* rows, int64_t head_size, int64_t count, uint16_t* to) {
    for (int64_t first = 0; first < count; first += kTileDepth) {
      const float* step = rows + first * RowFloats(head_size);
      if constexpr (kTerms == 1) {
        PackStep(reinterpret_cast<const uint16_t*>(step), head_size, count - first, to);
      } else {
        PackSplitStep(step, head_size, count - first, to);
      }
      to += kTerms * head_size * kTileDepth;
    }
  }

  static void PackSplitStep(const float* rows, int64_t head_size, int64_t count, uint16_t* to) {
    for (int64_t d = 0; d < head_size; d += 16, to += 16 * kTileDepth) {
      __m512i pairs[kTerms][16];  // neighbouring keys, side by side, at d + lane
      for (int64_t i = 0; i < 16; ++i) {
        const float* at = rows + 2 * i * head_size + d;
        __m512 even[kTerms];
        __m512 odd[kTerms];
        Split(2 * i < count ? Simd::Load(at) : Simd::Zero(), even);
        Split(2 * i + 1 < count ? Simd::Load(at + head_size) : Simd::Zero(), odd);
        for (int j = 0; j < kTerms; ++j) pairs[j][i] = Pair(even[j], odd[j]);
      }
      for (int j = 0; j < kTerms; ++j) {
        Transpose(pairs[j]);
        uint16_t* const tile = to + j * head_size * kTileDepth;
        for (int64_t i = 0; i < 16; ++i) _mm512_storeu_si512(tile + i * kTileDepth, pairs[j][i]);
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
        uint16_t* at = to + row * kTileDepth;  // rows of the tiles follow one another
        _mm512_storeu_si512(at, low[i]);
        _mm512_storeu_si512(at + 4 * kTileDepth, high[i]);
      }
    }
  }
};

}  // namespace g4v::kernels::amx
G4V_POP_TARGET

#endif  // G4V_AMX
