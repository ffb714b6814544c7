// Functions over the vector class of simd.h that give the same bits on every instruction set: they
// are built of IEEE operations in one order.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/simd/simd.h"
#include "kernels/cpu/simd/simd_plain.h"

// 2^x for x <= 0, relative error 1.5e-7 down to 2^-126, below which it gives 2^-126; NaN of NaN.
// 2^x = 2^f * 2^round(x) with f in [-0.5, 0.5]; the polynomial is the minimax one of degree 5 for
// the relative error of 2^f.
#define G4V_PORTABLE_EXP2_POLYNOMIAL(f)                                                         \
  Simd::MulAdd(                                                                                 \
      Simd::MulAdd(Simd::MulAdd(Simd::MulAdd(Simd::MulAdd(Simd::Set(0.0013269406044855714f), f, \
                                                          Simd::Set(0.009671294130384922f)),    \
                                             f, Simd::Set(0.0555071122944355f)),                \
                                f, Simd::Set(0.24022246897220612f)),                            \
                   f, Simd::Set(0.6931470036506653f)),                                          \
      f, Simd::Set(1.0f))

namespace g4v::kernels::plain {

inline float PortableExp2(float x) {
  if (!(x > -126.0f)) x = x != x ? x : -126.0f;
  const float n = std::nearbyint(x);
  const float f = x - n;
  const float p = G4V_PORTABLE_EXP2_POLYNOMIAL(f);
  // Of a NaN the polynomial is one, whatever is added to its bits' exponent.
  const int32_t power = x != x ? 0 : static_cast<int32_t>(n);
  return std::bit_cast<float>(std::bit_cast<int32_t>(p) + (power << 23));
}

}  // namespace g4v::kernels::plain

#ifdef G4V_X86

G4V_PUSH_TARGET(G4V_AVX2_FEATURES)
namespace g4v::kernels::avx2 {

inline __m256 PortableExp2(__m256 x) {
  x = Simd::Max(Simd::Set(-126.0f), x);  // in this order a NaN in x stays one
  const __m256 n = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m256 f = Simd::Sub(x, n);
  const __m256 p = G4V_PORTABLE_EXP2_POLYNOMIAL(f);
  const __m256i power = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), power));
}

}  // namespace g4v::kernels::avx2
G4V_POP_TARGET

G4V_PUSH_TARGET(G4V_AVX512_FEATURES)
namespace g4v::kernels::avx512 {

inline __m512 PortableExp2(__m512 x) {
  x = Simd::Max(Simd::Set(-126.0f), x);  // in this order a NaN in x stays one
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = Simd::Sub(x, n);
  const __m512 p = G4V_PORTABLE_EXP2_POLYNOMIAL(f);
  const __m512i power = _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), power));
}

}  // namespace g4v::kernels::avx512
G4V_POP_TARGET

#endif  // G4V_X86

#ifdef G4V_NEON

G4V_PUSH_TARGET(G4V_NEON_FEATURES)
namespace g4v::kernels::neon {

inline float32x4_t PortableExp2(float32x4_t x) {
  x = vmaxq_f32(x, vdupq_n_f32(-126.0f));
  const float32x4_t n = vrndnq_f32(x);
  const float32x4_t f = vsubq_f32(x, n);
  const float32x4_t p = G4V_PORTABLE_EXP2_POLYNOMIAL(f);
  const int32x4_t power = vshlq_n_s32(vcvtnq_s32_f32(n), 23);
  return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), power));
}

}  // namespace g4v::kernels::neon
G4V_POP_TARGET

#endif  // G4V_NEON

#undef G4V_PORTABLE_EXP2_POLYNOMIAL
