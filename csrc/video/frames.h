// Decoded frames as they travel through the core.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace g4v {

// RGB frames, uint8 [count, height, width, 3], row-major.
struct Frames {
  std::shared_ptr<const std::vector<uint8_t>> pixels;
  int64_t count = 0;
  int height = 0;
  int width = 0;
};

// Frames in memory that the caller owns.
struct FramesView {
  const uint8_t* pixels = nullptr;
  int64_t count = 0;
  int64_t height = 0;
  int64_t width = 0;
};

// Throws Error(InvalidArgument) where the view is no video.
void CheckVideo(const FramesView& video);

FramesView View(const Frames& frames);

// A copy of the frames that `indices` name, or of all. The view is one that CheckVideo passed.
Frames CopyFrames(const FramesView& video, std::span<const int64_t> indices);
Frames CopyFrames(const FramesView& video);

}  // namespace g4v
