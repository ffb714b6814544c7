// float32 values as sums of bfloat16 values, for products on AMX (kernels/cpu/gemm/gemm_amx.h).
#pragma once

#include <immintrin.h>

#include "kernels/cpu/simd/targets.h"

#ifdef G4V_AMX

G4V_PUSH_TARGET(G4V_AMX_FEATURES)
namespace g4v::kernels::amx {

// Values as sums of kTerms values of bfloat16, here still in float32: the largest term first, each
// of what the ones before it left. Three terms hold all 24 bits however they are rounded, and
// truncation is the fastest; fewer are rounded to nearest.
template <int kTerms>
inline void Split(__m512 x, __m512 (&terms)[kTerms]) {
  for (__m512& term : terms) {
    const __m512i bits =
        kTerms == 3 ? _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(~0xFFFF))
                    : _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x)), 16);
    term = _mm512_castsi512_ps(bits);
    x = _mm512_sub_ps(x, term);
  }
}

// Terms of two rows as bfloat16, each value of `even` beside that of `odd`: a row of a right
// factor.
inline __m512i Pair(__m512 even, __m512 odd) {
  return _mm512_mask_blend_epi16(0xAAAAAAAAu, _mm512_srli_epi32(_mm512_castps_si512(even), 16),
                                 _mm512_castps_si512(odd));
}

// Terms of 32 values as bfloat16, in their order: a row of a left factor.
inline __m512i ToBFloat16(__m512 first, __m512 second) {
  return (__m512i)_mm512_cvtne2ps_pbh(second, first);
}

}  // namespace g4v::kernels::amx
G4V_POP_TARGET

#endif  // G4V_AMX
