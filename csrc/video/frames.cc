#include "video/frames.h"

#include <cstring>
#include <numeric>
#include <string>

#include "base/error.h"

namespace g4v {
namespace {

constexpr int64_t kLongestSide = 1 << 15;
constexpr double kMostRate = 1000.0;           // frames a second
constexpr double kLongestVideo = 366 * 86400;  // seconds

void CheckTimes(const FrameTimes& times, int64_t count) {
  bool right = times.seconds.size() == static_cast<size_t>(count);
  double before = 0.0;
  for (const double second : times.seconds) {
    right = right && second >= before && second <= kLongestVideo;
    before = second;
  }
  right = right && times.duration >= 0.0 && times.duration <= kLongestVideo;
  if (right) return;
  throw Error(Code::InvalidArgument,
              "the times of a video must be one for each frame, in seconds from 0 to a year, and "
              "none before the last");
}

void CheckRate(const FramesView& video) {
  if (video.rate == 0.0) return;
  if (!(video.rate > 0.0 && video.rate <= kMostRate) ||
      static_cast<double>(video.count) > kLongestVideo * video.rate) {
    throw Error(Code::InvalidArgument,
                "the frames a second of a video must be above 0 and at most 1000, and the video no "
                "longer than a year");
  }
  if (video.times) {
    throw Error(Code::InvalidArgument,
                "a video has either the time of each frame or the number of frames a second, and "
                "both are given");
  }
}

}  // namespace

void CheckVideo(const FramesView& video) {
  const auto side = [](int64_t length) { return length >= 1 && length <= kLongestSide; };
  if (video.pixels && video.count >= 1 && side(video.height) && side(video.width)) {
    CheckRate(video);
    if (video.times) CheckTimes(*video.times, video.count);
    return;
  }
  throw Error(Code::InvalidArgument,
              "frames must be uint8 [T, H, W, 3] with T at least 1 and H and W from 1 to " +
                  std::to_string(kLongestSide));
}

FramesView View(const Frames& frames) {
  const bool timed = !frames.times.seconds.empty();
  return {frames.pixels->data(), frames.count, frames.height, frames.width,
          timed ? &frames.times : nullptr};
}

FrameTimes TimesAtRate(int64_t count, double rate) {
  FrameTimes times{{}, static_cast<double>(count) / rate};
  for (int64_t i = 0; i < count; ++i) {
    times.seconds.push_back(static_cast<double>(i) / rate);
  }
  return times;
}

Frames CopyFrames(const FramesView& video, std::span<const int64_t> indices) {
  const size_t bytes = static_cast<size_t>(video.height * video.width * 3);
  auto pixels = std::make_shared<std::vector<uint8_t>>(indices.size() * bytes);
  for (size_t i = 0; i < indices.size(); ++i) {
    std::memcpy(pixels->data() + i * bytes, video.pixels + static_cast<size_t>(indices[i]) * bytes,
                bytes);
  }
  FrameTimes times;
  if (video.times) {
    times.duration = video.times->duration;
    for (const int64_t index : indices) {
      times.seconds.push_back(video.times->seconds[static_cast<size_t>(index)]);
    }
  }
  return {std::move(pixels), static_cast<int64_t>(indices.size()), static_cast<int>(video.height),
          static_cast<int>(video.width), std::move(times)};
}

Frames CopyFrames(const FramesView& video) {
  std::vector<int64_t> indices(static_cast<size_t>(video.count));
  std::iota(indices.begin(), indices.end(), 0);
  return CopyFrames(video, indices);
}

}  // namespace g4v
