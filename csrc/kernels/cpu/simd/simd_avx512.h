// The vector class of simd.h for AVX-512 (F, BW, DQ, VL).
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/simd/targets.h"
#include "kernels/cross_attention.h"

G4V_PUSH_TARGET(G4V_AVX512_FEATURES)
namespace g4v::kernels::avx512 {

struct Simd {
  using Vector = __m512;
  static constexpr int kLanes = 16;
  // Of a micro-kernel: 6 x 4 accumulators, 4 vectors and a broadcast take 29 of 32 registers.
  static constexpr int kMicroRows = 6;
  static constexpr int kMicroVectors = 4;

  static Vector Zero() { return _mm512_setzero_ps(); }
  static Vector Set(float x) { return _mm512_set1_ps(x); }
  static Vector Load(const float* x) { return _mm512_loadu_ps(x); }
  static void Store(float* x, Vector v) { _mm512_storeu_ps(x, v); }
  static Vector Add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector Sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  static Vector Mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector Div(Vector a, Vector b) { return _mm512_div_ps(a, b); }
  static Vector Max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
  static Vector MulAdd(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }

  // 2^x for x <= 0, -inf included; relative error 1.5e-7. 2^x = 2^f * 2^floor(x) with f in [0, 1);
  // the polynomial is the minimax one of degree 5 for the relative error of 2^f among those that
  // are 1 at 0 (simd_avx2.h says why).
  static Vector Exp2(Vector x) {
    const Vector f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
    Vector p = Set(0.0018669525161385536f);
    p = MulAdd(p, f, Set(0.009017480537295341f));
    p = MulAdd(p, f, Set(0.055799514055252075f));
    p = MulAdd(p, f, Set(0.2401645928621292f));
    p = MulAdd(p, f, Set(0.6931512951850891f));
    p = MulAdd(p, f, Set(1.0f));
    return _mm512_scalef_ps(p, x);  // takes floor(x) itself
  }

  // kLanes values of a 16-bit or 32-bit row as float32.
  static Vector LoadAs(const char* x, DType dtype) {
    if (dtype == DType::kFloat32) return _mm512_loadu_ps(x);
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
    if (dtype == DType::kFloat16) return _mm512_cvtph_ps(bits);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }

  static Vector LoadInt8(const char* x) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
  }

  // kLanes values as float16, rounded to nearest even.
  static void StoreFloat16(uint16_t* x, Vector v) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(x), _mm512_cvtps_ph(v, kNearest));
  }
};

}  // namespace g4v::kernels::avx512
G4V_POP_TARGET
