// Pixels of frames as the VAE has them, and as videos do.
#pragma once

#include <cstdint>

namespace g4v {

// float [3, H, W] in [-1, 1] -> uint8 [H, W, 3], rounded. `area` is H * W. Throws Error(Internal) where
// a number is not finite.
void ToPixels(const float* image, int64_t area, uint8_t* pixels);

// uint8 [H, W, 3] -> float [3, H, W] in [-1, 1], with the roundings of diffusers' VaeImageProcessor.
void FromPixels(const uint8_t* pixels, int64_t area, float* image);

}  // namespace g4v
