#include "video/frames.h"

#include <cstring>
#include <numeric>
#include <string>

#include "base/error.h"

namespace g4v {
namespace {

constexpr int64_t kLongestSide = 1 << 15;

}  // namespace

void CheckVideo(const FramesView& video) {
  const auto side = [](int64_t length) { return length >= 1 && length <= kLongestSide; };
  if (video.pixels && video.count >= 1 && side(video.height) && side(video.width)) return;
  throw Error(Code::InvalidArgument,
              "frames must be uint8 [T, H, W, 3] with T at least 1 and H and W from 1 to " +
                  std::to_string(kLongestSide));
}

FramesView View(const Frames& frames) {
  return {frames.pixels->data(), frames.count, frames.height, frames.width};
}

Frames CopyFrames(const FramesView& video, std::span<const int64_t> indices) {
  const size_t bytes = static_cast<size_t>(video.height * video.width * 3);
  auto pixels = std::make_shared<std::vector<uint8_t>>(indices.size() * bytes);
  for (size_t i = 0; i < indices.size(); ++i) {
    std::memcpy(pixels->data() + i * bytes, video.pixels + static_cast<size_t>(indices[i]) * bytes,
                bytes);
  }
  return {std::move(pixels), static_cast<int64_t>(indices.size()), static_cast<int>(video.height),
          static_cast<int>(video.width)};
}

Frames CopyFrames(const FramesView& video) {
  std::vector<int64_t> indices(static_cast<size_t>(video.count));
  std::iota(indices.begin(), indices.end(), 0);
  return CopyFrames(video, indices);
}

}  // namespace g4v
