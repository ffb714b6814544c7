#include "diffusion/noise.h"

#include <bit>
#include <cmath>
#include <vector>

#include "base/philox.h"

namespace g4v {
namespace internal {

// x = m * 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh((m - 1) / (m + 1)). With
// s^2 <= 0.0295 eleven terms reach the last bit of a double.
double Log(double x) {
  uint64_t bits = std::bit_cast<uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFFull) | 0x3FF0000000000000ull);
  if (m >= 1.4142135623730951) {
    m *= 0.5;
    ++exponent;
  }
  const double s = (m - 1.0) / (m + 1.0);
  const double s2 = s * s;
  double sum = 0.0;
  for (int k = 23; k >= 1; k -= 2) sum = sum * s2 + 1.0 / k;
  return 2.0 * s * sum + exponent * 0.69314718055994530942;
}

// Reduced to at most an eighth of a turn, then Taylor.
void SinCosTurns(double turns, double& sin_out, double& cos_out) {
  const double quarters = turns * 4.0;
  const double nearest = std::floor(quarters + 0.5);
  const double x = (quarters - nearest) * 1.57079632679489661923;
  const double x2 = x * x;
  double sine = 0.0;
  for (int k = 17; k >= 3; k -= 2) sine = (1.0 + sine) * (-x2 / (k * (k - 1)));
  sine = x * (1.0 + sine);
  double cosine = 0.0;
  for (int k = 18; k >= 2; k -= 2) cosine = (1.0 + cosine) * (-x2 / (k * (k - 1)));
  cosine = 1.0 + cosine;
  switch (static_cast<int>(nearest) & 3) {
    case 0:
      sin_out = sine, cos_out = cosine;
      break;
    case 1:
      sin_out = cosine, cos_out = -sine;
      break;
    case 2:
      sin_out = -sine, cos_out = -cosine;
      break;
    default:
      sin_out = -cosine, cos_out = sine;
  }
}

}  // namespace internal

void FillNoise(uint64_t seed, std::span<float> values, uint64_t stream) {
  for (size_t i = 0; i < values.size(); i += 2) {
    const PhiloxBlock block = Philox4x32(seed, i / 2, stream);
    const double radius = std::sqrt(-2.0 * internal::Log(UniformOpenZero(block[0], block[1])));
    double sine = 0.0;
    double cosine = 0.0;
    internal::SinCosTurns(UniformOpenZero(block[2], block[3]), sine, cosine);
    values[i] = static_cast<float>(radius * cosine);
    if (i + 1 < values.size()) values[i + 1] = static_cast<float>(radius * sine);
  }
}

void FillVideoNoise(uint64_t seed, double shared, int64_t channels, int64_t frames, int64_t area,
                    std::span<float> latents, uint64_t stream) {
  if (shared == 0.0) return FillNoise(seed, latents, stream);
  std::vector<float> drawn(latents.size() + static_cast<size_t>(channels * area));
  FillNoise(seed, drawn, stream);
  const float* own = drawn.data();
  const float* common = own + latents.size();
  const double own_scale = std::sqrt(1.0 - shared);
  const double common_scale = std::sqrt(shared);
  float* to = latents.data();
  for (int64_t channel = 0; channel < channels; ++channel, common += area) {
    for (int64_t frame = 0; frame < frames; ++frame) {
      for (int64_t i = 0; i < area; ++i) {
        *to++ = static_cast<float>(own_scale * *own++ + common_scale * common[i]);
      }
    }
  }
}

}  // namespace g4v
