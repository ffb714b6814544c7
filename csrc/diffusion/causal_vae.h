// The decoder of a causal video VAE, which takes a video one latent frame at a time.
//
// Each of its convolutions over time keeps the last frames that it has read for the next chunk: the
// graph's inputs "cache.0", "cache.1", ... and its outputs "next_cache.0", ..., which are written over
// them. So a video of any length takes the memory of one chunk.
#pragma once

#include <vector>

#include "bundle/manifest.h"
#include "diffusion/vae.h"
#include "ort/session.h"
#include "video/frames.h"

namespace g4v {

// The frames of `latents` [C, f, h, w], uint8 [F, H, W, 3]; vae.causal is there, and
// F = (f - 1) * frames_per_latent + 1. Throws Error(Cancelled) within a chunk and after each, and
// Error(Internal) where a pixel is not finite.
Frames DecodeChunks(ort::Session& decoder, const VaeDecoderSpec& vae,
                    const VideoGenerationSpec& spec, const std::vector<float>& latents,
                    ort::RunControl& control, const DecodedFrames& decoded);

}  // namespace g4v
