// A small picture of what a video is becoming, while it is denoised.
//
// It is the middle latent frame of the clean latents that the last prediction stands for, averaged
// down to a few latents a side and decoded by the bundle's own VAE: a share of one frame's work.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "bundle/manifest.h"
#include "diffusion/scheduler.h"
#include "video/frames.h"

namespace g4v {

// Pixels that the longest edge of a preview has at most.
inline constexpr int kPreviewEdge = 128;

// Latents of one frame as they are denoised, [C, h, w].
struct LatentFrame {
  std::vector<float> values;
  int64_t channels = 0;
  int64_t height = 0;
  int64_t width = 0;
};

// The middle frame of the clean latents, by the prediction for step `index` and the latents that it
// begins with, both [C, f, h, w] of `shape`. Numbers beyond 8 deviations are cut: what a model says
// of the first steps may be far out of what its VAE can take.
LatentFrame MiddleFrame(const Scheduler& scheduler, int index, std::span<const float> prediction,
                        std::span<const float> latents, const std::array<int64_t, 4>& shape);

// Averaged to as few latents that the pixels fit kPreviewEdge, `unit` pixels being one latent; or as
// it is, where that is outside the profile of the engine that decodes it.
LatentFrame PoolForPreview(const LatentFrame& frame, int unit,
                           const std::map<std::string, Span>& profile);

// Frames of kPreviewEdge at most; smaller ones stay as they are.
Frames ShrinkForPreview(Frames frames);

}  // namespace g4v
