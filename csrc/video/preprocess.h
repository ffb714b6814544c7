// From decoded frames to the encoder's input.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace g4v {

enum class Resampling { kBicubic, kLanczos };

// Resizes one RGB image uint8 [height, width, 3] to uint8 [out_height, out_width, 3] with
// antialiasing, bit for bit as Image.resize(size, Image.Resampling.BICUBIC or LANCZOS) of Pillow 13.
// (Before 13 the rows always came first, which differs by one step in some pixels of tall images.) An
// image of that size already is returned unchanged.
std::vector<uint8_t> Resize(const uint8_t* image, int height, int width, int out_height,
                            int out_width, Resampling resampling = Resampling::kBicubic);

// What the encoder sees of a frame.
struct FrameFormat {
  int size = 0;  // edge of the square, pixels
  std::array<float, 3> mean{};
  std::array<float, 3> std{};
  Resampling resampling = Resampling::kBicubic;
  // Where it is not 0, frames are first resized to have a longest edge of so many pixels, with the
  // aspect ratio kept but for the other edge being made even.
  int longest_edge = 0;
};

// Frames uint8 [T, H, W, 3] (RGB) -> float32 [T, 3, size, size]: resized as above, at last without
// keeping the aspect ratio, then (value / 255 - mean) / std for each channel. Throws
// Error(InvalidArgument) where a size is not positive or a std is 0.
std::vector<float> Preprocess(const uint8_t* frames, int64_t count, int height, int width,
                              const FrameFormat& format);

// Which of `count` frames the encoder sees: step = (count - 1) / samples, first = int(step / 2),
// index i = first + round(step * i) with ties to even, clamped to the last frame. A video with
// fewer frames repeats some. Throws Error(Video) where count < 1 and Error(InvalidArgument) where
// samples < 1.
std::vector<int64_t> SampleFrames(int64_t count, int samples);

// `samples` of `count` frames, at least as many, from the first to the last at even distances, rounded
// down.
std::vector<int64_t> SpreadFrames(int64_t count, int samples);

}  // namespace g4v
