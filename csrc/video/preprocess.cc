#include "video/preprocess.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"

namespace g4v {

std::vector<float> Preprocess(const uint8_t* frames, int64_t count, int height, int width, int size,
                              const std::array<float, 3>& mean, const std::array<float, 3>& std) {
  if (count < 1 || height < 1 || width < 1 || size < 1) {
    throw Error(Code::InvalidArgument, "frames must be [T, H, W, 3] with T, H, W of at least 1");
  }
  // Each channel has only 256 values: normalise once, then look up.
  std::array<std::array<float, 256>, 3> table;
  for (size_t channel = 0; channel < 3; ++channel) {
    if (std[channel] == 0.0f) throw Error(Code::InvalidArgument, "a normalisation std is 0");
    for (size_t value = 0; value < 256; ++value) {
      table[channel][value] = (static_cast<float>(value) / 255.0f - mean[channel]) / std[channel];
    }
  }
  const size_t plane = static_cast<size_t>(size) * static_cast<size_t>(size);
  const size_t frame_bytes = static_cast<size_t>(height) * static_cast<size_t>(width) * 3;
  std::vector<float> pixels(static_cast<size_t>(count) * 3 * plane);
  float* out = pixels.data();
  for (int64_t t = 0; t < count; ++t, frames += frame_bytes) {
    const std::vector<uint8_t> image = ResizeBicubic(frames, height, width, size, size);
    for (size_t channel = 0; channel < 3; ++channel) {
      for (size_t i = 0; i < plane; ++i) *out++ = table[channel][image[3 * i + channel]];
    }
  }
  return pixels;
}

std::vector<int64_t> SampleFrames(int64_t count, int samples) {
  if (count < 1) throw Error(Code::Video, "the video has no frames");
  if (samples < 1) {
    throw Error(Code::InvalidArgument,
                "at least 1 frame must be sampled, not " + std::to_string(samples));
  }
  const double step = static_cast<double>(count - 1) / samples;
  const auto first = static_cast<int64_t>(step / 2);
  std::vector<int64_t> indices;
  for (int i = 0; i < samples; ++i) {
    // nearbyint rounds ties to even, as Python's round does.
    const auto index = first + static_cast<int64_t>(std::nearbyint(step * i));
    indices.push_back(std::min(index, count - 1));
  }
  return indices;
}

}  // namespace g4v
