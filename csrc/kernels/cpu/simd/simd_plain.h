// The vector class of simd.h for any processor: vectors of one value.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/float16.h"
#include "kernels/cross_attention.h"

namespace g4v::kernels::plain {

struct Simd {
  using Vector = float;
  static constexpr int kLanes = 1;

  static Vector Zero() { return 0.0f; }
  static Vector Set(float x) { return x; }
  static Vector Load(const float* x) { return *x; }
  static void Store(float* x, Vector v) { *x = v; }
  static Vector Add(Vector a, Vector b) { return a + b; }
  static Vector Sub(Vector a, Vector b) { return a - b; }
  static Vector Mul(Vector a, Vector b) { return a * b; }
  static Vector Div(Vector a, Vector b) { return a / b; }
  static Vector Max(Vector a, Vector b) { return a > b ? a : b; }  // as the instruction: b of a NaN
  static Vector MulAdd(Vector a, Vector b, Vector c) { return std::fma(a, b, c); }

  static Vector LoadAs(const char* x, DType dtype) {
    if (dtype == DType::kFloat32) {
      float value;
      std::memcpy(&value, x, sizeof value);
      return value;
    }
    uint16_t bits;
    std::memcpy(&bits, x, sizeof bits);
    return dtype == DType::kFloat16 ? Float16ToFloat(bits) : BFloat16ToFloat(bits);
  }

  static Vector LoadInt8(const char* x) {
    return static_cast<float>(*reinterpret_cast<const int8_t*>(x));
  }

  // kLanes values as float16, rounded to nearest even.
  static void StoreFloat16(uint16_t* x, Vector v) { *x = FloatToFloat16(v); }
};

}  // namespace g4v::kernels::plain
