// Decoded frames as they travel through the core.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace g4v {

// When the frames of a video are shown.
struct FrameTimes {
  std::vector<double> seconds;  // of each frame, from the start of the video
  double duration = 0.0;        // of the whole video, seconds
};

// RGB frames, uint8 [count, height, width, 3], row-major.
struct Frames {
  std::shared_ptr<const std::vector<uint8_t>> pixels;
  int64_t count = 0;
  int height = 0;
  int width = 0;
  FrameTimes times = {};  // of each frame; none where nobody asks for them
};

// Frames in memory that the caller owns.
struct FramesView {
  const uint8_t* pixels = nullptr;
  int64_t count = 0;
  int64_t height = 0;
  int64_t width = 0;
  const FrameTimes* times = nullptr;  // of each frame; null where they are not known
  // Frames a second of the video, whose frames these all are; 0 where that is not known. Not beside
  // `times`.
  double rate = 0.0;
};

// Frames a second where nobody says when frames are shown.
inline constexpr double kAssumedRate = 24.0;

// Of `count` frames, `rate` a second, the first at 0.
FrameTimes TimesAtRate(int64_t count, double rate);

// Throws Error(InvalidArgument) where the view is no video, its rate is not above 0 and at most 1000
// or makes it longer than a year, or its times are not those of its frames: one for each, none below
// 0 or before the last, none above a year.
void CheckVideo(const FramesView& video);

FramesView View(const Frames& frames);

// A copy of the frames that `indices` name, or of all. The view is one that CheckVideo passed.
Frames CopyFrames(const FramesView& video, std::span<const int64_t> indices);
Frames CopyFrames(const FramesView& video);

}  // namespace g4v
