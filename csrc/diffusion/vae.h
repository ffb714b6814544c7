// The two halves of the VAE, between frames and latents [C, F, h, w]; a few frames at once.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "bundle/manifest.h"
#include "ort/session.h"
#include "video/frames.h"

namespace g4v {

// Throws Error(Cancelled) where the control says so.
void CheckNotCancelled(const ort::RunControl& control);

// Latents of one channel as the decoder takes them, from those that are denoised: divided by the
// scaling factor, times the channel's deviation, plus its mean.
void FromUnitVariance(const VaeDecoderSpec& vae, int64_t channel, std::span<const float> latents,
                      float* to);

// Called after each piece of a video that is decoded, with a copy of its frames and the place of the
// first of them in the video. What it throws ends the work.
using DecodedFrames = std::function<void(Frames frames, int64_t first)>;

// Calls `decoded`, unless it is empty, with `count` frames of [.., height, width, 3], from `first` on.
void TellDecoded(const DecodedFrames& decoded, const std::vector<uint8_t>& pixels, int64_t first,
                 int64_t count, int64_t height, int64_t width);

// The frames of `latents`, uint8 [F, H, W, 3]. Throws Error(Internal) where a pixel is not finite.
Frames DecodeLatents(ort::Session& decoder, const VaeDecoderSpec& vae,
                     const VideoGenerationSpec& spec, const std::vector<float>& latents,
                     ort::RunControl& control, const DecodedFrames& decoded);

// Latents of a video as large as `spec`, as they are denoised: of each frame a sample of the
// normal distribution that the encoder gives, mean + deviation * n, n being the numbers of the
// seed's stream kPosterior, [C, F, h, w]. One frame alone stands for all frames.
std::vector<float> EncodeFrames(ort::Session& encoder, const VaeDecoderSpec& vae,
                                const VideoGenerationSpec& spec, const Frames& frames,
                                uint64_t seed, ort::RunControl& control);

// No step of a sampler has this number.
inline constexpr uint64_t kPosterior = UINT64_MAX;

}  // namespace g4v
