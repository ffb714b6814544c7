// norms.h over the vector class `Simd`, one row at a time. Not guarded: norms.cc includes it once
// for each instruction set (kernels/cpu/simd/targets.h).
#include <cmath>
#include <cstdint>

#include "kernels/cpu/norm/norms.h"
#include "kernels/cpu/simd/silu_simd.h"
#include "kernels/cpu/simd/simd.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

// The first few lanes of a vector, for the end of a row that is no whole vector, and their sum.
struct Lanes {
  static constexpr int kCount = Simd::kLanes;

  static Simd::Vector LoadFirst(const float* x, int64_t count) {
    float buffer[kCount] = {};
    for (int64_t i = 0; i < count; ++i) buffer[i] = x[i];
    return Simd::Load(buffer);
  }
  static void StoreFirst(float* x, Simd::Vector v, int64_t count) {
    float buffer[kCount];
    Simd::Store(buffer, v);
    for (int64_t i = 0; i < count; ++i) x[i] = buffer[i];
  }
  static float Sum(Simd::Vector v) {
    float buffer[kCount];
    Simd::Store(buffer, v);
    float sum = 0.0f;
    for (const float x : buffer) sum += x;
    return sum;
  }
};

// out = LayerNorm(values); the lanes of `sums` add up to the sum of the values.
inline void LayerNormRow(const LayerNormParams& p, const float* values, Simd::Vector sums,
                         float* out) {
  const int64_t whole = p.width - p.width % Lanes::kCount;
  const int64_t rest = p.width - whole;
  const auto count = static_cast<float>(p.width);
  const float average = Lanes::Sum(sums) / count;
  const auto mean = Simd::Set(average);
  auto squares = Simd::Zero();
  for (int64_t i = 0; i < whole; i += Lanes::kCount) {
    const auto centred = Simd::Sub(Simd::Load(values + i), mean);
    squares = Simd::MulAdd(centred, centred, squares);
  }
  float square = Lanes::Sum(squares);
  for (int64_t i = whole; i < p.width; ++i) {
    const float centred = values[i] - average;
    square += centred * centred;
  }
  const auto factor = Simd::Set(1.0f / std::sqrt(square / count + p.epsilon));
  for (int64_t i = 0; i < whole; i += Lanes::kCount) {
    const auto centred = Simd::Mul(Simd::Sub(Simd::Load(values + i), mean), factor);
    Simd::Store(out + i, Simd::MulAdd(centred, Simd::Load(p.scale + i), Simd::Load(p.shift + i)));
  }
  if (rest == 0) return;
  const auto centred = Simd::Mul(Simd::Sub(Lanes::LoadFirst(values + whole, rest), mean), factor);
  const auto scale = Lanes::LoadFirst(p.scale + whole, rest);
  Lanes::StoreFirst(out + whole,
                    Simd::MulAdd(centred, scale, Lanes::LoadFirst(p.shift + whole, rest)), rest);
}

// As many values of a row as a vector has lanes, or the last few; lanes beyond them are zeros. (No
// lambdas in this file: outside of templates GCC does not compile them for the target.)
struct Part {
  int64_t count;
  Simd::Vector Load(const float* x) const {
    return count == Lanes::kCount ? Simd::Load(x) : Lanes::LoadFirst(x, count);
  }
};

struct SkipValues {
  const float* x;
  const float* skip;
  const float* bias;

  Simd::Vector At(Part part, int64_t i) const {
    const auto sum = Simd::Add(part.Load(x + i), part.Load(skip + i));
    return bias ? Simd::Add(sum, part.Load(bias + i)) : sum;
  }
};

struct GatedValues {
  const float* gate;  // [width] gates of the row, then the [width] values that they scale
  const float* bias;
  int64_t width;

  Simd::Vector At(Part part, int64_t i) const {
    const auto z = Simd::Add(part.Load(gate + i), part.Load(bias + i));
    const auto u = Simd::Add(part.Load(gate + width + i), part.Load(bias + width + i));
    return Simd::Mul(Silu(z), u);
  }
};

// Writes the values of a row that is to be normalised; returns their sum, lane by lane.
template <class Values>
Simd::Vector WriteRow(int64_t width, float* to, const Values& values) {
  const int64_t whole = width - width % Lanes::kCount;
  const int64_t rest = width - whole;
  auto sums = Simd::Zero();
  for (int64_t i = 0; i < whole; i += Lanes::kCount) {
    const auto v = values.At(Part{Lanes::kCount}, i);
    Simd::Store(to + i, v);
    sums = Simd::Add(sums, v);
  }
  if (rest == 0) return sums;
  const auto v = values.At(Part{rest}, whole);  // silu(0) * 0 = 0
  Lanes::StoreFirst(to + whole, v, rest);
  return Simd::Add(sums, v);
}

void SkipLayerNormRows(const SkipLayerNormParams& p, int64_t first, int64_t last) {
  const int64_t width = p.norm.width;
  for (int64_t row = first; row < last; ++row) {
    float* const sum = p.sum + row * width;
    const SkipValues values{p.x + row * width, p.skip + row * width, p.bias};
    LayerNormRow(p.norm, sum, WriteRow(width, sum, values), p.norm.out + row * width);
  }
}

void GatedLayerNormRows(const GatedLayerNormParams& p, int64_t first, int64_t last) {
  const int64_t width = p.norm.width;
  for (int64_t row = first; row < last; ++row) {
    float* const out = p.norm.out + row * width;
    const GatedValues values{p.x + 2 * row * width, p.bias, width};
    LayerNormRow(p.norm, out, WriteRow(width, out, values), out);
  }
}

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
