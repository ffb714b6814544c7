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
  // Where it is not 0, frames are resized to have a shortest edge of so many pixels, the other one
  // rounded down, and the square is their middle, with black around what is smaller. Not beside
  // longest_edge.
  int shortest_edge = 0;
};

// Frames uint8 [T, H, W, 3] (RGB) -> float32 [T, 3, size, size]: resized as above, at last without
// keeping the aspect ratio where there is no shortest_edge, then (value / 255 - mean) / std for each channel. Throws
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

// How frames are taken by the second of the video that they are of.
struct BySecond {
  double fps = 0.0;  // as many a second; above 0
  // Left out at both ends of a video longer than most * fps + 2 of these.
  double skip_seconds = 0.0;
  bool floor = false;  // by FloorFrames, in place of even distances from first to last
};

// Which of `count` frames, `rate` a second, are seen: at least 1 and at most `most`, without repeats.
// FrameSampling of python/g4v/_sampling.py has the rule in words; both choose the same.
std::vector<int64_t> FramesBySecond(int64_t count, double rate, int most, const BySecond& how);

// As transformers samples frames where a processor has no rule of its own: frame i of the samples is
// floor(i * count / samples).
std::vector<int64_t> FloorFrames(int64_t count, int samples);

}  // namespace g4v
