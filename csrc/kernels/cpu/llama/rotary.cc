#include "kernels/cpu/llama/rotary.h"

#include <cmath>

namespace g4v::kernels {

void RotaryAngles(int64_t position, const float* frequencies, float factor, int64_t half,
                  float* cosines, float* sines) {
  for (int64_t i = 0; i < half; ++i) {
    const double angle = static_cast<float>(position) * frequencies[i];
    cosines[i] = static_cast<float>(std::cos(angle)) * factor;
    sines[i] = static_cast<float>(std::sin(angle)) * factor;
  }
}

void Rotate(const float* cosines, const float* sines, int64_t half, float* head) {
  float* const other = head + half;
  for (int64_t i = 0; i < half; ++i) {
    const float x = head[i];
    const float y = other[i];
    head[i] = x * cosines[i] - y * sines[i];
    other[i] = y * cosines[i] + x * sines[i];
  }
}

}  // namespace g4v::kernels
