// The two halves of the VAE, between frames and latents [C, F, h, w]; a few frames at once.
#pragma once

#include <cstdint>
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

// The frames of `latents`, uint8 [F, H, W, 3]. Throws Error(Internal) where a pixel is not finite.
Frames DecodeLatents(ort::Session& decoder, const VaeDecoderSpec& vae,
                     const VideoGenerationSpec& spec, const std::vector<float>& latents,
                     ort::RunControl& control);

// Latents of a video as large as `spec`, as they are denoised: of each frame a sample of the
// normal distribution that the encoder gives, mean + deviation * n, n being the numbers of the
// seed's stream kPosterior, [C, F, h, w]. One frame alone stands for all frames.
std::vector<float> EncodeFrames(ort::Session& encoder, const VaeDecoderSpec& vae,
                                const VideoGenerationSpec& spec, const Frames& frames,
                                uint64_t seed, ort::RunControl& control);

// No step of a sampler has this number.
inline constexpr uint64_t kPosterior = UINT64_MAX;

}  // namespace g4v
