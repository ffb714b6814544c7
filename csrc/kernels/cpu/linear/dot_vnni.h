// dot_plain.h for AVX-512 with VNNI: 16 rows of weights at once, four columns in one instruction.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/linear/dot_avx2.h"
#include "kernels/cpu/simd/portable.h"

#ifdef G4V_X86

G4V_PUSH_TARGET(G4V_VNNI_FEATURES)
namespace g4v::kernels::vnni {

using Simd = avx512::Simd;
using avx512::PortableExp2;
using Integers = __m512i;

struct LinearTile {
  static constexpr int kRows = 12;
  static constexpr int kGroup = 4;
  static constexpr int kVectors = 1;
};

inline __m512 ToFloat(Integers x) { return _mm512_cvtepi32_ps(x); }
inline Integers Subtract(Integers x, int32_t y) {
  return _mm512_sub_epi32(x, _mm512_set1_epi32(y));
}

inline __m512i BroadcastFour(const int8_t* a) {
  int32_t four;
  std::memcpy(&four, a, sizeof four);
  return _mm512_set1_epi32(four);
}

template <int kRows>
inline void DotInt4(const uint8_t* weights, const int8_t* const (&a)[kRows],
                    Integers (&sums)[kRows]) {
  const __m512i low = _mm512_set1_epi8(15);
  for (int r = 0; r < kRows; ++r) sums[r] = _mm512_setzero_si512();
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i both = _mm512_loadu_si512(weights + 64 * j);
    const __m512i first = _mm512_and_si512(both, low);
    const __m512i second = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      sums[r] = _mm512_dpbusd_epi32(sums[r], first, BroadcastFour(a[r] + 4 * j));
      sums[r] = _mm512_dpbusd_epi32(sums[r], second, BroadcastFour(a[r] + 16 + 4 * j));
    }
  }
}

// The instruction takes one unsigned factor: sum (q + 128) a - 128 sum a.
template <int kColumns, int kRows>
inline void DotInt8(const uint8_t* weights, const int8_t* const (&a)[kRows],
                    const int32_t (&a_sums)[kRows], Integers (&sums)[kRows]) {
  const __m512i flip = _mm512_set1_epi8(-128);
  for (int r = 0; r < kRows; ++r) sums[r] = _mm512_set1_epi32(-128 * a_sums[r]);
#pragma GCC unroll 8
  for (int j = 0; j < kColumns / 4; ++j) {
    const __m512i q = _mm512_xor_si512(_mm512_loadu_si512(weights + 64 * j), flip);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      sums[r] = _mm512_dpbusd_epi32(sums[r], q, BroadcastFour(a[r] + 4 * j));
    }
  }
}

// Half as wide, so that their words need not cross the register.
using avx2::LargestBits;
using avx2::RoundBlock;
using avx2::SumHalves;

}  // namespace g4v::kernels::vnni
G4V_POP_TARGET

#endif  // G4V_X86
