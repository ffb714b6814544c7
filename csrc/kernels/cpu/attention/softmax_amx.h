// The softmax of the attention on AMX, for a panel of C columns of 16 queries.
//
// Flash attention corrects O whenever a maximum grows. Here the exponents stay relative to the
// maximum of a panel's first 32 keys until the weights of a block add up to more than kMostWeight:
// bfloat16 and float32 lose nothing by larger weights. Only then is the maximum taken over the
// block and are the sums so far corrected.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/simd/amx_tiles.h"
#include "kernels/cpu/simd/bf16_split.h"
#include "kernels/cpu/simd/simd.h"

#ifdef G4V_AMX

G4V_PUSH_TARGET(G4V_AMX_FEATURES)
namespace g4v::kernels::amx {

constexpr float kMostWeight = 16384.0f;  // of the keys of a block together
// Weights of bfloat16 are truncated to it, after they were multiplied by what truncation takes from
// them on average.
constexpr float kRoundUp = 1.0f + 0.7213f / 256;

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

// Whether no query's weights of a block add up to more than kMostWeight.
template <int C>
inline bool WithinLimit(const __m512 (&total)[C]) {
  __mmask16 within = 0xFFFF;
  for (int c = 0; c < C; ++c) {  // a NaN is not
    within &= _mm512_cmp_ps_mask(total[c], _mm512_set1_ps(kMostWeight), _CMP_LE_OQ);
  }
  return within == 0xFFFF;
}

// maximum[query] = max(maximum[query], its scores * scale); NaN is passed over.
template <int C>
inline void RaiseMaximum(const float* scores, int64_t keys, float scale, float* maximum) {
  for (int c = 0; c < C; ++c) {
    __m512 above = _mm512_loadu_ps(maximum + c * kTile);
    for (int64_t i = 0; i < keys; ++i) {
      const float* at = scores + (i / kTile * C + c) * kTile * kTile + i % kTile * kTile;
      above = _mm512_max_ps(_mm512_mul_ps(_mm512_loadu_ps(at), _mm512_set1_ps(scale)), above);
    }
    _mm512_storeu_ps(maximum + c * kTile, above);
  }
}

// Weights P of 32 keys (of `keys`, then zeros) from their scores; adds them to every query's total.
template <int C, int kTerms>
inline void Weigh(const float* scores, int64_t keys, float scale, const float* maximum,
                  uint16_t* weights, __m512 (&total)[C]) {
  const __m512 factor = _mm512_set1_ps(scale);
  __m512 top[C];
  for (int c = 0; c < C; ++c) top[c] = _mm512_loadu_ps(maximum + c * kTile);
  const auto weight = [&](const float* at, int c) {
    const __m512 x = _mm512_fmsub_ps(_mm512_loadu_ps(at), factor, top[c]);
    return kTerms == 1 ? RoundedUpExp2(x) : Simd::Exp2(x);
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
      if constexpr (kTerms == 1) {
        _mm512_storeu_si512(to, Pair(even, odd));
      } else {
        __m512 evens[kTerms];
        __m512 odds[kTerms];
        Split(even, evens);
        Split(odd, odds);
        for (int i = 0; i < kTerms; ++i, to += C * kTileWords) {
          _mm512_storeu_si512(to, Pair(evens[i], odds[i]));
        }
      }
    }
  }
}

}  // namespace g4v::kernels::amx
G4V_POP_TARGET

#endif  // G4V_AMX
