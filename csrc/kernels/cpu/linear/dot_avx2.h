// dot_plain.h for AVX2: 8 rows of weights at once.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/simd/portable.h"

#ifdef G4V_X86

G4V_PUSH_TARGET(G4V_AVX2_FEATURES)
namespace g4v::kernels::avx2 {

using Integers = __m256i;

struct LinearTile {
  static constexpr int kRows = 4;
  static constexpr int kGroup = 4;
  static constexpr int kVectors = 2;
};

inline __m256 ToFloat(Integers x) { return _mm256_cvtepi32_ps(x); }
inline Integers Subtract(Integers x, int32_t y) {
  return _mm256_sub_epi32(x, _mm256_set1_epi32(y));
}

// Sums are added up as they are written: GCC would add in pairs, for which there are not enough
// registers.
inline void InOrder(Integers& sum) { asm("" : "+x"(sum)); }

// Four codes of an activation, for every row of weights.
inline __m256i BroadcastFour(const int8_t* a) {
  int32_t four;
  std::memcpy(&four, a, sizeof four);
  return _mm256_set1_epi32(four);
}

// A lane of 16 bits adds up 16 products of at most 15 * 127, which are 30480.
template <int kRows>
inline void DotInt4(const uint8_t* weights, const int8_t* const (&a)[kRows],
                    Integers (&sums)[kRows]) {
  const __m256i low = _mm256_set1_epi8(15);
  for (int r = 0; r < kRows; ++r) sums[r] = _mm256_setzero_si256();
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights + 64 * j));
    const __m256i first = _mm256_and_si256(both, low);
    const __m256i second = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const __m256i x = _mm256_maddubs_epi16(first, BroadcastFour(a[r] + 4 * j));
      const __m256i y = _mm256_maddubs_epi16(second, BroadcastFour(a[r] + 16 + 4 * j));
      sums[r] = _mm256_add_epi16(sums[r], _mm256_add_epi16(x, y));
      InOrder(sums[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) sums[r] = _mm256_madd_epi16(sums[r], _mm256_set1_epi16(1));
}

// |q| sign(q) a: the instruction takes one unsigned factor. A pair is at most 2 * 128 * 127, which
// fits into 16 bits.
template <int kColumns, int kRows>
inline void DotInt8(const uint8_t* weights, const int8_t* const (&a)[kRows],
                    const int32_t (&)[kRows], Integers (&sums)[kRows]) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (int r = 0; r < kRows; ++r) sums[r] = _mm256_setzero_si256();
#pragma GCC unroll 8
  for (int j = 0; j < kColumns / 4; ++j) {
    const __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights + 64 * j));
    const __m256i size = _mm256_abs_epi8(q);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const __m256i signs = _mm256_sign_epi8(BroadcastFour(a[r] + 4 * j), q);
      const __m256i pairs = _mm256_maddubs_epi16(size, signs);
      sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(pairs, ones));
      InOrder(sums[r]);
    }
  }
}

inline void RoundBlock(const float* x, float factor, int8_t* codes) {
  __m256i rounded[4];
  for (int i = 0; i < 4; ++i) {
    rounded[i] =
        _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), _mm256_set1_ps(factor)));
  }
  // Both packings work in each half of a register; the permutation puts its words in order.
  const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(rounded[0], rounded[1]),
                                            _mm256_packs_epi32(rounded[2], rounded[3]));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes),
                      _mm256_permutevar8x32_epi32(packed, order));
}

inline int32_t LargestBits(const float* x) {
  __m256i largest = _mm256_setzero_si256();
  for (int i = 0; i < 4; ++i) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + 8 * i));
    const __m256i size = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
    largest = _mm256_max_epi32(largest, size);
  }
  __m128i four =
      _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

inline void SumHalves(const int8_t* codes, int32_t* sums) {
  const __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
  __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  fours = _mm256_add_epi32(fours, _mm256_shuffle_epi32(fours, 0x4e));
  fours = _mm256_add_epi32(fours, _mm256_shuffle_epi32(fours, 0xb1));
  sums[0] = _mm256_extract_epi32(fours, 0);
  sums[1] = _mm256_extract_epi32(fours, 4);
}

}  // namespace g4v::kernels::avx2
G4V_POP_TARGET

#endif  // G4V_X86
