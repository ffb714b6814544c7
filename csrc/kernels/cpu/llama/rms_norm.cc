#include "kernels/cpu/llama/rms_norm.h"

#include <cmath>

namespace g4v::kernels {

void RmsNorm(const float* x, const float* scale, int64_t width, float epsilon, float* out) {
  constexpr int64_t kSums = 16;
  float sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= width; i += kSums) {
    for (int64_t j = 0; j < kSums; ++j) sums[j] += x[i + j] * x[i + j];
  }
  for (int64_t j = 0; i + j < width; ++j) sums[j] += x[i + j] * x[i + j];
  for (int64_t half = kSums / 2; half > 0; half /= 2) {
    for (int64_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  const float factor = 1.0f / std::sqrt(sums[0] / static_cast<float>(width) + epsilon);
  for (int64_t j = 0; j < width; ++j) out[j] = x[j] * factor * scale[j];
}

}  // namespace g4v::kernels
