// The vector class of simd.h for AVX2 with FMA and F16C.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/simd/targets.h"
#include "kernels/cross_attention.h"

G4V_PUSH_TARGET(G4V_AVX2_FEATURES)
namespace g4v::kernels::avx2 {

struct Simd {
  using Vector = __m256;
  static constexpr int kLanes = 8;
  // Of a micro-kernel: 6 x 2 accumulators, 2 vectors and a broadcast take 15 of 16 registers.
  static constexpr int kMicroRows = 6;
  static constexpr int kMicroVectors = 2;

  static Vector Zero() { return _mm256_setzero_ps(); }
  static Vector Set(float x) { return _mm256_set1_ps(x); }
  static Vector Load(const float* x) { return _mm256_loadu_ps(x); }
  static void Store(float* x, Vector v) { _mm256_storeu_ps(x, v); }
  static Vector Add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector Sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  static Vector Mul(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static Vector Div(Vector a, Vector b) { return _mm256_div_ps(a, b); }
  static Vector Max(Vector a, Vector b) { return _mm256_max_ps(a, b); }
  static Vector MulAdd(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }

  // 2^x for x <= 0, -inf included; relative error 1.6e-7 down to 2^-126, below which it gives
  // 2^-126. 2^x = 2^f * 2^round(x) with f in [-0.5, 0.5]; the polynomial is the minimax one of
  // degree 5 for the relative error of 2^f among those that are 1 at 0: 2^0 is exact, since flash
  // attention multiplies its sums by it for every block of keys.
  static Vector Exp2(Vector x) {
    x = Max(Set(-126.0f), x);  // in this order a NaN in x stays one
    const Vector n = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Vector f = Sub(x, n);
    Vector p = Set(0.0013269406044855714f);
    p = MulAdd(p, f, Set(0.009671294130384922f));
    p = MulAdd(p, f, Set(0.0555071122944355f));
    p = MulAdd(p, f, Set(0.24022246897220612f));
    p = MulAdd(p, f, Set(0.6931470036506653f));
    p = MulAdd(p, f, Set(1.0f));
    const __m256i power = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), power));
  }

  // kLanes values of a 16-bit or 32-bit row as float32.
  static Vector LoadAs(const char* x, DType dtype) {
    if (dtype == DType::kFloat32) return _mm256_loadu_ps(reinterpret_cast<const float*>(x));
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
    if (dtype == DType::kFloat16) return _mm256_cvtph_ps(bits);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }

  static Vector LoadInt8(const char* x) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  }

  // kLanes values as float16, rounded to nearest even.
  static void StoreFloat16(uint16_t* x, Vector v) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(x), _mm256_cvtps_ph(v, kNearest));
  }
};

}  // namespace g4v::kernels::avx2
G4V_POP_TARGET
