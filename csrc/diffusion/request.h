// What a video is made from.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/manifest.h"
#include "bundle/placement.h"

namespace g4v {

// What a video starts from in place of the noise of its seed: float32 [channels, frames, height,
// width] of the latents, standard normal as the schedulers' first sample is.
struct InitialLatents {
  std::vector<float> values;
  std::array<int64_t, 4> shape{};
};

// An empty field means the bundle's default; a value out of its range is Error(InvalidArgument)
// that names the option and the range.
struct VideoOptions {
  std::optional<uint64_t> seed;          // Assistant::Generate only; none = drawn at random
  std::optional<int> frames;             // 1 .. 1024
  std::optional<int> width;              // pixels, a multiple of the VAE's scale factor, .. 4096
  std::optional<int> height;             // likewise
  std::optional<double> fps;             // 0 < .. 1000; a label of the result
  std::optional<int> steps;              // 1 .. the training time steps
  std::optional<double> guidance_scale;  // 0 .. 100; 1 = no guidance, half the work
  std::optional<std::string> negative_prompt;  // steers away from this text
  std::optional<std::string> scheduler;        // a sampler of the bundle's "schedulers"
  std::optional<InitialLatents> latents;       // Assistant::Generate only; none = noise of the seed
};

struct VideoRequest {
  std::string caption;
  uint64_t seed = 0;
  VideoGenerationSpec spec;
  std::vector<float> latents = {};  // to start from; empty = noise of the seed
};

// The bundle's defaults with the set fields of `first`, then of `second` over them.
VideoGenerationSpec ResolveVideoOptions(const VideoGenerationSpec& defaults,
                                        const ComponentsSpec& components, const VideoOptions& first,
                                        const VideoOptions& second);

// The values of `latents`, none without them. Throws Error(InvalidArgument) where their shape is
// not that of the video's latents or a number is not finite.
std::vector<float> CheckLatents(const std::optional<InitialLatents>& latents,
                                const VideoGenerationSpec& spec, const ComponentsSpec& components);

// Bytes that a video takes at least while it is made: its pixels and its latents, without what the
// graphs need for themselves.
uint64_t LeastBytes(const VideoGenerationSpec& spec, int latent_channels, int scale_factor);

// Throws Error(InvalidArgument) where LeastBytes is more than this process can still have.
void CheckMemory(const VideoGenerationSpec& spec, int latent_channels, int scale_factor);

// Throws Error(InvalidArgument) for a video whose sizes are outside the profile of the engines that
// run it; graphs without a profile take any size.
void CheckProfiles(const VideoGenerationSpec& spec, const ComponentsSpec& components,
                   const ort::Targets& targets);

}  // namespace g4v
