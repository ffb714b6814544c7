#include "diffusion/preview.h"

#include <algorithm>
#include <memory>

#include "video/preprocess.h"

namespace g4v {
namespace {

constexpr float kFarOut = 8.0f;

// A size that is `edge` where the longest is `longest`, with the same shape.
int64_t Shrunk(int64_t size, int64_t edge, int64_t longest) {
  return std::max<int64_t>(1, size * edge / longest);
}

bool Takes(const std::map<std::string, Span>& profile, const char* dimension, int64_t size) {
  const auto found = profile.find(dimension);
  return found == profile.end() || (size >= found->second.least && size <= found->second.most);
}

}  // namespace

LatentFrame MiddleFrame(const Scheduler& scheduler, int index, std::span<const float> prediction,
                        std::span<const float> latents, const std::array<int64_t, 4>& shape) {
  const auto [channels, frames, height, width] = shape;
  const auto area = static_cast<size_t>(height * width);
  LatentFrame middle{std::vector<float>(static_cast<size_t>(channels) * area), channels, height,
                     width};
  for (int64_t c = 0; c < channels; ++c) {
    const size_t from = static_cast<size_t>(c * frames + frames / 2) * area;
    const std::span<float> clean =
        std::span(middle.values).subspan(static_cast<size_t>(c) * area, area);
    scheduler.Clean(index, prediction.subspan(from, area), latents.subspan(from, area), clean);
  }
  for (float& value : middle.values) value = std::clamp(value, -kFarOut, kFarOut);
  return middle;
}

LatentFrame PoolForPreview(const LatentFrame& frame, int unit,
                           const std::map<std::string, Span>& profile) {
  const int64_t edge = std::max(kPreviewEdge / unit, 1);
  const int64_t longest = std::max(frame.height, frame.width);
  if (longest <= edge) return frame;
  LatentFrame pooled{
      {}, frame.channels, Shrunk(frame.height, edge, longest), Shrunk(frame.width, edge, longest)};
  if (!Takes(profile, "latent_height", pooled.height) ||
      !Takes(profile, "latent_width", pooled.width)) {
    return frame;
  }
  // Each is the mean of the latents that lie in it, those on an edge among them.
  const auto first = [](int64_t i, int64_t from, int64_t to) { return i * from / to; };
  const auto last = [](int64_t i, int64_t from, int64_t to) { return ((i + 1) * from - 1) / to; };
  pooled.values.reserve(static_cast<size_t>(pooled.channels * pooled.height * pooled.width));
  for (int64_t c = 0; c < frame.channels; ++c) {
    const float* plane = frame.values.data() + c * frame.height * frame.width;
    for (int64_t y = 0; y < pooled.height; ++y) {
      const int64_t top = first(y, frame.height, pooled.height);
      const int64_t bottom = last(y, frame.height, pooled.height);
      for (int64_t x = 0; x < pooled.width; ++x) {
        const int64_t left = first(x, frame.width, pooled.width);
        const int64_t right = last(x, frame.width, pooled.width);
        double sum = 0.0;
        for (int64_t row = top; row <= bottom; ++row) {
          for (int64_t i = left; i <= right; ++i) sum += plane[row * frame.width + i];
        }
        const auto count = static_cast<double>((bottom - top + 1) * (right - left + 1));
        pooled.values.push_back(static_cast<float>(sum / count));
      }
    }
  }
  return pooled;
}

Frames ShrinkForPreview(Frames frames) {
  const int longest = std::max(frames.height, frames.width);
  if (longest <= kPreviewEdge) return frames;
  const int height = static_cast<int>(Shrunk(frames.height, kPreviewEdge, longest));
  const int width = static_cast<int>(Shrunk(frames.width, kPreviewEdge, longest));
  auto pixels = std::make_shared<std::vector<uint8_t>>();
  const auto size = static_cast<size_t>(frames.height) * static_cast<size_t>(frames.width) * 3;
  for (int64_t f = 0; f < frames.count; ++f) {
    const std::vector<uint8_t> small = Resize(frames.pixels->data() + static_cast<size_t>(f) * size,
                                              frames.height, frames.width, height, width);
    pixels->insert(pixels->end(), small.begin(), small.end());
  }
  return {std::move(pixels), frames.count, height, width};
}

}  // namespace g4v
