// The vector class of simd.h for NEON of 64-bit ARM.
#pragma once

#include "kernels/cpu/simd/targets.h"

#ifdef G4V_NEON

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "kernels/cross_attention.h"

G4V_PUSH_TARGET(G4V_NEON_FEATURES)
namespace g4v::kernels::neon {

struct Simd {
  using Vector = float32x4_t;
  static constexpr int kLanes = 4;

  static Vector Zero() { return vdupq_n_f32(0.0f); }
  static Vector Set(float x) { return vdupq_n_f32(x); }
  static Vector Load(const float* x) { return vld1q_f32(x); }
  static void Store(float* x, Vector v) { vst1q_f32(x, v); }
  static Vector Add(Vector a, Vector b) { return vaddq_f32(a, b); }
  static Vector Sub(Vector a, Vector b) { return vsubq_f32(a, b); }
  static Vector Mul(Vector a, Vector b) { return vmulq_f32(a, b); }
  static Vector Div(Vector a, Vector b) { return vdivq_f32(a, b); }
  static Vector Max(Vector a, Vector b) { return vmaxq_f32(a, b); }
  static Vector MulAdd(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }

  static Vector LoadAs(const char* x, DType dtype) {
    if (dtype == DType::kFloat32) return vld1q_f32(reinterpret_cast<const float*>(x));
    const uint16x4_t bits = vld1_u16(reinterpret_cast<const uint16_t*>(x));
    if (dtype == DType::kFloat16) return vcvt_f32_f16(vreinterpret_f16_u16(bits));
    return vreinterpretq_f32_u32(vshll_n_u16(bits, 16));
  }

  static Vector LoadInt8(const char* x) {
    uint32_t bytes;
    std::memcpy(&bytes, x, sizeof bytes);
    const int16x8_t words = vmovl_s8(vcreate_s8(bytes));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(words)));
  }

  // kLanes values as float16, rounded to nearest even.
  static void StoreFloat16(uint16_t* x, Vector v) {
    vst1_u16(x, vreinterpret_u16_f16(vcvt_f16_f32(v)));
  }
};

}  // namespace g4v::kernels::neon
G4V_POP_TARGET

#endif  // G4V_NEON
