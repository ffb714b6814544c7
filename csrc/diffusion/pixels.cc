#include "diffusion/pixels.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace g4v {

void ToPixels(const float* image, int64_t area, uint8_t* pixels) {
  for (int64_t channel = 0; channel < 3; ++channel) {
    for (int64_t i = 0; i < area; ++i) {
      const float value = image[channel * area + i];
      if (!std::isfinite(value)) {
        throw Error(Code::Internal,
                    "the video generator's pixels are not finite; the bundle may be damaged");
      }
      pixels[i * 3 + channel] =
          static_cast<uint8_t>(std::lrint(std::clamp((value + 1.0f) * 127.5f, 0.0f, 255.0f)));
    }
  }
}

void FromPixels(const uint8_t* pixels, int64_t area, float* image) {
  for (int64_t channel = 0; channel < 3; ++channel) {
    for (int64_t i = 0; i < area; ++i) {
      image[channel * area + i] = 2.0f * (pixels[i * 3 + channel] / 255.0f) - 1.0f;
    }
  }
}

}  // namespace g4v
