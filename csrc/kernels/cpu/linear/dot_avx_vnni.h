// dot_plain.h for AVX2 with VNNI: 8 rows of weights at once, four columns in one instruction. Not
// guarded: for a namespace G4V_TARGET with G4V_TARGET_FEATURES, and
//
//   G4V_DPBUSD(sums, unsigned_codes, signed_codes)   the instruction: that of AVX-VNNI, or the one
//                                                    of AVX-512 on half a register, by which this is
//                                                    tested where the former is not at hand
#include <cstdint>

#include "kernels/cpu/linear/dot_avx2.h"
#include "kernels/cpu/simd/portable.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

using avx2::BroadcastFour;
using avx2::Integers;
using avx2::LargestBits;
using avx2::LinearTile;
using avx2::PortableExp2;
using avx2::RoundBlock;
using avx2::Simd;
using avx2::Subtract;
using avx2::SumHalves;
using avx2::ToFloat;

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
      sums[r] = G4V_DPBUSD(sums[r], first, BroadcastFour(a[r] + 4 * j));
      sums[r] = G4V_DPBUSD(sums[r], second, BroadcastFour(a[r] + 16 + 4 * j));
    }
  }
}

// The instruction takes one unsigned factor: sum (q + 128) a - 128 sum a.
template <int kColumns, int kRows>
inline void DotInt8(const uint8_t* weights, const int8_t* const (&a)[kRows],
                    const int32_t (&a_sums)[kRows], Integers (&sums)[kRows]) {
  const __m256i flip = _mm256_set1_epi8(-128);
  for (int r = 0; r < kRows; ++r) sums[r] = _mm256_set1_epi32(-128 * a_sums[r]);
#pragma GCC unroll 8
  for (int j = 0; j < kColumns / 4; ++j) {
    const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights + 64 * j));
    const __m256i q = _mm256_xor_si256(codes, flip);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      sums[r] = G4V_DPBUSD(sums[r], q, BroadcastFour(a[r] + 4 * j));
    }
  }
}

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
