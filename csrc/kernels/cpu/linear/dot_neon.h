// dot_plain.h for NEON with dot products: 4 rows of weights at once, four columns in one
// instruction.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd/portable.h"

#ifdef G4V_NEON

G4V_PUSH_TARGET(G4V_NEON_FEATURES)
namespace g4v::kernels::neon {

using Integers = int32x4_t;

struct LinearTile {
  static constexpr int kRows = 8;
  static constexpr int kGroup = 8;
  static constexpr int kVectors = 4;
};

inline float32x4_t ToFloat(Integers x) { return vcvtq_f32_s32(x); }
inline Integers Subtract(Integers x, int32_t y) { return vsubq_s32(x, vdupq_n_s32(y)); }

inline int8x16_t BroadcastFour(const int8_t* a) {
  return vreinterpretq_s8_s32(vld1q_dup_s32(reinterpret_cast<const int32_t*>(a)));
}

template <int kRows>
inline void DotInt4(const uint8_t* weights, const int8_t* const (&a)[kRows],
                    Integers (&sums)[kRows]) {
  for (int r = 0; r < kRows; ++r) sums[r] = vdupq_n_s32(0);
  for (int j = 0; j < 4; ++j) {
    const uint8x16_t both = vld1q_u8(weights + 64 * j);
    const int8x16_t first = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
    const int8x16_t second = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
    for (int r = 0; r < kRows; ++r) {
      sums[r] = vdotq_s32(sums[r], first, BroadcastFour(a[r] + 4 * j));
      sums[r] = vdotq_s32(sums[r], second, BroadcastFour(a[r] + 16 + 4 * j));
    }
  }
}

template <int kColumns, int kRows>
inline void DotInt8(const uint8_t* weights, const int8_t* const (&a)[kRows],
                    const int32_t (&)[kRows], Integers (&sums)[kRows]) {
  for (int r = 0; r < kRows; ++r) sums[r] = vdupq_n_s32(0);
  for (int j = 0; j < kColumns / 4; ++j) {
    const int8x16_t q = vreinterpretq_s8_u8(vld1q_u8(weights + 64 * j));
    for (int r = 0; r < kRows; ++r) {
      sums[r] = vdotq_s32(sums[r], q, BroadcastFour(a[r] + 4 * j));
    }
  }
}

inline void RoundBlock(const float* x, float factor, int8_t* codes) {
  for (int i = 0; i < 4; ++i) {
    const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 8 * i), factor));
    const int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 8 * i + 4), factor));
    vst1_s8(codes + 8 * i, vqmovn_s16(vcombine_s16(vqmovn_s32(low), vqmovn_s32(high))));
  }
}

inline int32_t LargestBits(const float* x) {
  uint32x4_t largest = vdupq_n_u32(0);
  for (int i = 0; i < 8; ++i) {
    largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x + 4 * i))));
  }
  return static_cast<int32_t>(vmaxvq_u32(largest));
}

inline void SumHalves(const int8_t* codes, int32_t* sums) {
  sums[0] = vaddlvq_s8(vld1q_s8(codes));
  sums[1] = vaddlvq_s8(vld1q_s8(codes + 16));
}

}  // namespace g4v::kernels::neon
G4V_POP_TARGET

#endif  // G4V_NEON
