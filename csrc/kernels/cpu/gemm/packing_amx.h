// How the matrices of gemm_amx.h are laid out for AMX: split in terms of bfloat16, as tiles in the
// order in which they are multiplied, padded with zeros.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/gemm/gemm_plan.h"
#include "kernels/cpu/simd/amx_tiles.h"
#include "kernels/cpu/simd/bf16_split.h"

#ifdef G4V_AMX

G4V_PUSH_TARGET(G4V_AMX_FEATURES)
namespace g4v::kernels::amx {

// The first `count` of 16 lanes.
inline __mmask16 Lanes(int64_t count) {
  return count >= 16 ? 0xFFFF : count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

// Packs the rows of A from 32 * block on as left factors, [steps][terms][2 tiles][16 rows][32],
// with zeros past the last row and column.
template <int kTerms>
void PackRows(const float* a, int64_t rows, int64_t depth, int64_t block, uint16_t* to) {
  for (int64_t i = 0; i < kBlock; ++i) {
    const int64_t row = block * kBlock + i;
    uint16_t* tile = to + i / kTile * kTileWords + i % kTile * 32;
    for (int64_t d = 0; d < depth; d += kBlock) {
      __m512 first[kTerms] = {};
      __m512 second[kTerms] = {};
      if (row < rows) {
        const float* at = a + row * depth + d;
        Split(_mm512_maskz_loadu_ps(Lanes(depth - d), at), first);
        Split(_mm512_maskz_loadu_ps(Lanes(depth - d - 16), at + 16), second);
      }
      for (int j = 0; j < kTerms; ++j, tile += kTermWords) {
        _mm512_store_si512(tile, ToBFloat16(first[j], second[j]));
      }
    }
  }
}

// Packs the columns of B from 32 * panel on as right factors, [steps][terms][2 tiles][16 pairs]
// [16 columns][2].
template <int kTerms>
void PackPanel(const float* b, int64_t depth, int64_t columns, int64_t panel, uint16_t* to) {
  for (int64_t d = 0; d < depth; d += kBlock, to += kTerms * kTermWords) {
    for (int64_t c = 0; c < 2; ++c) {
      const int64_t column = panel * kBlock + c * kTile;
      const __mmask16 lanes = Lanes(columns - column);
      for (int64_t pair = 0; pair < kTile; ++pair) {
        const int64_t row = d + 2 * pair;
        const float* at = b + row * columns + column;
        __m512 even[kTerms];
        __m512 odd[kTerms];
        Split(_mm512_maskz_loadu_ps(row < depth ? lanes : 0, at), even);
        Split(_mm512_maskz_loadu_ps(row + 1 < depth ? lanes : 0, at + columns), odd);
        uint16_t* tile = to + c * kTileWords + pair * 32;
        for (int j = 0; j < kTerms; ++j, tile += kTermWords) {
          _mm512_store_si512(tile, Pair(even[j], odd[j]));
        }
      }
    }
  }
}

}  // namespace g4v::kernels::amx
G4V_POP_TARGET

#endif  // G4V_AMX
