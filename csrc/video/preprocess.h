// From decoded frames to the encoder's input.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace g4v {

// Resizes one RGB image uint8 [height, width, 3] to uint8 [out_height, out_width, 3], bicubic with
// antialiasing, bit for bit as Image.resize(size, Image.Resampling.BICUBIC) of Pillow 13. (Before
// 13 the rows always came first, which differs by one step in some pixels of tall images.) An image
// of that size already is returned unchanged.
std::vector<uint8_t> ResizeBicubic(const uint8_t* image, int height, int width, int out_height,
                                   int out_width);

// Frames uint8 [T, H, W, 3] (RGB) -> float32 [T, 3, size, size]: resized as above without keeping
// the aspect ratio, then (value / 255 - mean) / std for each channel. Throws Error(InvalidArgument)
// where a size is not positive or a std is 0.
std::vector<float> Preprocess(const uint8_t* frames, int64_t count, int height, int width, int size,
                              const std::array<float, 3>& mean, const std::array<float, 3>& std);

// Which of `count` frames the encoder sees: step = (count - 1) / samples, first = int(step / 2),
// index i = first + round(step * i) with ties to even, clamped to the last frame. A video with
// fewer frames repeats some. Throws Error(Video) where count < 1 and Error(InvalidArgument) where
// samples < 1.
std::vector<int64_t> SampleFrames(int64_t count, int samples);

}  // namespace g4v
