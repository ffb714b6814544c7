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
#include "video/frames.h"

namespace g4v {

// What a video starts from in place of the noise of its seed: float32 [channels, frames, height,
// width] of the latents, standard normal as the schedulers' first sample is.
struct InitialLatents {
  std::vector<float> values;
  std::array<int64_t, 4> shape{};
};

// How much of the noise of a video from noise alone is added to a video that another one is made
// from, where nobody says: as VideoToVideoSDPipeline of diffusers.
inline constexpr double kDefaultStrength = 0.6;

// An empty field means the bundle's default; a value out of its range is Error(InvalidArgument)
// that names the option and the range.
struct VideoOptions {
  std::optional<uint64_t> seed;  // Assistant::Generate only; none = drawn at random
  std::optional<int> frames;     // 1 .. 1024; 1 more than a multiple of a latent's frames
  // Pixels, .. 4096, a multiple of the VAE's scale factor, times the patch of a transformer.
  std::optional<int> width;
  std::optional<int> height;  // likewise
  // 0 < .. 1000; a label of the result, which the transformer of LTX-Video reads too.
  std::optional<double> fps;
  std::optional<int> steps;                    // 1 .. the training time steps
  std::optional<double> guidance_scale;        // 0 .. 100; 1 = no guidance, half the work
  std::optional<std::string> negative_prompt;  // steers away from this text
  std::optional<std::string> scheduler;        // a sampler of the bundle's "schedulers"
  std::optional<InitialLatents> latents;       // Assistant::Generate only; none = noise of the seed
  // Assistant::Generate only: the video is made from this one, or from a single picture, which
  // stands for all frames; both of the video's own size. It is encoded, and the noise of the seed, or
  // `latents`, is added to it.
  std::optional<Frames> video;
  std::optional<double> strength;  // 0 < .. 1, with `video`: the share of steps that is done
  // Progress comes with a small picture after each step whose number is a multiple of it; 0 = never.
  std::optional<int> preview_every;   // 0 .. 1048576
  std::optional<bool> stream_frames;  // frames are handed on as they are decoded, before the video
  // Assistant::Generate only: prompt and negative prompt have weights, as prompt_weights.h reads them.
  std::optional<bool> prompt_weighting;
};

// The video that another one is made from.
struct SourceVideo {
  Frames frames;       // as many as the video has, or one for all
  int first_step = 0;  // those before it are left out
};

struct VideoRequest {
  std::string caption;
  uint64_t seed = 0;
  VideoGenerationSpec spec;         // every value, for the bundle's generator
  std::vector<float> latents = {};  // to start from; empty = noise of the seed
  VideoOptions asked = {};          // the values that were asked for, for a host's generator
  std::optional<SourceVideo> source = {};
  int preview_every = 0;
  bool stream_frames = false;
  bool prompt_weighting = false;

  int first_step() const { return source ? source->first_step : 0; }
};

// The bundle's defaults with the set fields of `first`, then of `second` over them.
VideoGenerationSpec ResolveVideoOptions(const VideoGenerationSpec& defaults,
                                        const ComponentsSpec& components, const VideoOptions& first,
                                        const VideoOptions& second);

// The set fields of `first`, then of `second` over them, for a host's generator, of which neither
// defaults nor limits are known. Throws Error(InvalidArgument) where a value is out of the range that
// holds for every generator, and for `scheduler`, `latents`, `video`, `strength`, `preview_every`,
// `stream_frames` and `prompt_weighting`, which are of the bundle's own.
VideoOptions ResolveHostOptions(const VideoOptions& first, const VideoOptions& second);

// The values of `latents`, none without them. Throws Error(InvalidArgument) where their shape is
// not that of the video's latents or a number is not finite.
std::vector<float> CheckLatents(const std::optional<InitialLatents>& latents,
                                const VideoGenerationSpec& spec, const ComponentsSpec& components);

struct SourceSize {
  int frames;
  int height;
  int width;
};

// The step that a video which is made from another one begins with. Throws Error(InvalidArgument)
// where `strength` is out of range or leaves no step, and Error(Bundle) where there is no VAE encoder.
int FirstStep(const VideoOptions& options, const VideoGenerationSpec& spec,
              const ComponentsSpec& components);

// The video that `options` name to make `spec` from, none without one. Throws Error(InvalidArgument)
// where its sizes are not those of `spec` or of an engine's profile, or `strength` stands without a
// video, and what FirstStep throws.
std::optional<SourceVideo> ResolveSource(const VideoOptions& options,
                                         const VideoGenerationSpec& spec,
                                         const ComponentsSpec& components,
                                         const ort::Targets& targets);

// Bytes that a video takes at least while it is made: its pixels, its latents, what a causal VAE
// keeps between chunks and the images of one that makes all at once, without what the graphs need for
// themselves.
uint64_t LeastBytes(const VideoGenerationSpec& spec, const ComponentsSpec& components);

// Throws Error(InvalidArgument) where LeastBytes is more than this process can still have.
void CheckMemory(const VideoGenerationSpec& spec, const ComponentsSpec& components);

// Throws Error(InvalidArgument) for a video whose sizes are outside the profile of the engines that
// run it; graphs without a profile take any size.
void CheckProfiles(const VideoGenerationSpec& spec, const ComponentsSpec& components,
                   const ort::Targets& targets);

}  // namespace g4v
