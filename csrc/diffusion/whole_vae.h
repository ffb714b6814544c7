// The decoder of a video VAE that takes all latent frames at once: every frame depends on those before
// and after it, so that it needs the memory of the whole video.
#pragma once

#include <cstdint>
#include <vector>

#include "bundle/manifest.h"
#include "diffusion/vae.h"
#include "ort/session.h"
#include "video/frames.h"

namespace g4v {

// Streams of a seed's numbers; no step of a sampler has these numbers.
inline constexpr uint64_t kDecodeNoise = UINT64_MAX - 1;  // that the latents get
inline constexpr uint64_t kLayerNoise = UINT64_MAX - 2;   // of "noise.0", "noise.1", ... one by one

// The frames of `latents` [C, f, h, w], uint8 [F, H, W, 3]; vae.whole is there, and
// F = (f - 1) * frames_per_latent + 1. Throws Error(Cancelled) within the decoder and after it, and
// Error(Internal) where a pixel is not finite. `decoded` is told of all frames as one piece.
Frames DecodeWhole(ort::Session& decoder, const VaeDecoderSpec& vae,
                   const VideoGenerationSpec& spec, const std::vector<float>& latents,
                   uint64_t seed, ort::RunControl& control, const DecodedFrames& decoded);

}  // namespace g4v
