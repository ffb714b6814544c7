#include "diffusion/request.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/memory.h"
#include "base/option.h"
#include "base/utf8.h"
#include "diffusion/scheduler.h"
#include "diffusion/video_shape.h"

namespace g4v {
namespace {

std::string ShapeText(const std::array<int64_t, 4>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "[" : ", ") + std::to_string(size);
  return text + "]";
}

std::string SizeText(int64_t frames, int width, int height) {
  return std::to_string(frames) + (frames == 1 ? " frame of " : " frames of ") +
         std::to_string(width) + "x" + std::to_string(height) + " pixels";
}

void CheckBetween(const char* name, int64_t value, int64_t least, int64_t most,
                  const Variant& variant) {
  if (value >= least && value <= most) return;
  const std::string able =
      least == most ? std::to_string(most) : std::to_string(least) + " to " + std::to_string(most);
  throw Error(Code::InvalidArgument, std::string(name) + " is " + std::to_string(value) +
                                         " but the bundle's " + variant.target +
                                         " engine is built for " + able +
                                         "; export another with --frames and --video-size");
}

// `unit` pixels are one of the dimension's steps.
void CheckSpan(const char* name, int value, int unit, const Variant& variant,
               const std::string& dimension) {
  const auto found = variant.profile.find(dimension);
  if (found == variant.profile.end()) return;
  const Span& span = found->second;
  CheckBetween(name, value, int64_t{span.least} * unit, int64_t{span.most} * unit, variant);
}

// The dimension "frames" of an engine is that of the latents.
void CheckFrames(int frames, const VaeDecoderSpec& vae, const Variant& variant) {
  const auto found = variant.profile.find("frames");
  if (found == variant.profile.end()) return;
  const int64_t made = vae.frames_per_latent();
  const Span& span = found->second;
  CheckBetween("frames", frames, (int64_t{span.least} - 1) * made + 1,
               (int64_t{span.most} - 1) * made + 1, variant);
}

// The sampler is one of the bundle's, can take the steps, and its time steps fit the graph.
void CheckScheduler(const VideoGenerationSpec& spec, bool whole_timesteps) {
  const std::vector<std::string>& able = spec.schedulers;
  const std::string& type = spec.scheduler.type;
  if (std::find(able.begin(), able.end(), type) == able.end()) {
    const std::vector<std::string_view> words(able.begin(), able.end());
    throw Error(Code::InvalidArgument, "scheduler is \"" + type + "\" but must be " + OneOf(words) +
                                           ", which this bundle's model can take");
  }
  const std::unique_ptr<Scheduler> scheduler = Scheduler::Make(spec.scheduler, spec.steps);
  if (!whole_timesteps) return;
  for (const double timestep : scheduler->timesteps()) {
    if (timestep == std::floor(timestep)) continue;
    throw Error(Code::InvalidArgument,
                "scheduler is \"" + type + "\", which visits time step " +
                    std::to_string(timestep) +
                    " of this schedule, but the bundle's UNet reads whole ones; export the bundle "
                    "again, or choose another sampler");
  }
}

}  // namespace

VideoOptions ResolveHostOptions(const VideoOptions& first, const VideoOptions& second) {
  // More than any schedule has; a generator may have a tighter range of its own.
  constexpr OptionRange kHostSteps{"steps", 1, 1 << 20};
  VideoOptions asked;
  const auto refuse = [](const std::string& name) {
    throw Error(Code::InvalidArgument,
                name +
                    " is an option of the bundle's own generator, and the load was given another "
                    "one; leave " +
                    name + " out");
  };
  for (const VideoOptions* options : {&first, &second}) {
    if (options->scheduler) refuse("scheduler");
    if (options->latents) refuse("latents");
    if (options->video) refuse("video");
    if (options->strength) refuse("strength");
    if (options->preview_every) refuse("preview_every");
    if (options->stream_frames) refuse("stream_frames");
    if (options->prompt_weighting) refuse("prompt_weighting");
    const auto overlay = [](const auto& option, auto& value) {
      if (option) value = option;
    };
    overlay(options->frames, asked.frames);
    overlay(options->width, asked.width);
    overlay(options->height, asked.height);
    overlay(options->fps, asked.fps);
    overlay(options->steps, asked.steps);
    overlay(options->guidance_scale, asked.guidance_scale);
    overlay(options->negative_prompt, asked.negative_prompt);
  }
  if (asked.frames) CheckRange(kFrames, *asked.frames);
  if (asked.width) CheckRange(kWidth, *asked.width);
  if (asked.height) CheckRange(kHeight, *asked.height);
  if (asked.fps) CheckRange(kFps, *asked.fps);
  if (asked.steps) CheckRange(kHostSteps, *asked.steps);
  if (asked.guidance_scale) CheckRange(kGuidanceScale, *asked.guidance_scale);
  if (asked.negative_prompt && !IsValidUtf8(*asked.negative_prompt)) {
    throw Error(Code::InvalidArgument, "negative_prompt is not valid UTF-8 text");
  }
  return asked;
}

VideoGenerationSpec ResolveVideoOptions(const VideoGenerationSpec& defaults,
                                        const ComponentsSpec& components, const VideoOptions& first,
                                        const VideoOptions& second) {
  VideoGenerationSpec spec = defaults;
  for (const VideoOptions* options : {&first, &second}) {
    Overlay(options->frames, spec.frames);
    Overlay(options->width, spec.width);
    Overlay(options->height, spec.height);
    Overlay(options->fps, spec.fps);
    Overlay(options->steps, spec.steps);
    Overlay(options->guidance_scale, spec.guidance_scale);
    Overlay(options->negative_prompt, spec.negative_prompt);
    Overlay(options->scheduler, spec.scheduler.type);
  }
  CheckShape(spec, components);
  CheckRange(kFps, spec.fps);
  CheckRange(kGuidanceScale, spec.guidance_scale);
  if (!IsValidUtf8(spec.negative_prompt)) {
    throw Error(Code::InvalidArgument, "negative_prompt is not valid UTF-8 text");
  }
  if (spec.pipeline == kLtxPipeline) {  // it counts latents
    const std::array<int64_t, 4> shape = LatentShape(spec, components);
    spec.scheduler.tokens = shape[1] * shape[2] * shape[3];
  }
  if (DenoiserOf(components).frame_seconds) {
    const std::vector<float> seconds = FrameSeconds(spec, *components.vae_decoder);
    if (!std::isfinite(seconds.front()) || !std::isfinite(seconds.back())) {
      throw Error(Code::InvalidArgument,
                  "fps is too small for this bundle's transformer, which reads the time of each "
                  "frame; use a larger one");
    }
  }
  CheckScheduler(spec, DenoiserOf(components).whole_timesteps);
  return spec;
}

std::vector<float> CheckLatents(const std::optional<InitialLatents>& latents,
                                const VideoGenerationSpec& spec, const ComponentsSpec& components) {
  if (!latents) return {};
  const int unit = components.vae_decoder->scale_factor;
  const std::array<int64_t, 4> shape = LatentShape(spec, components);
  const std::string frames =
      components.vae_decoder->frames_per_latent() > 1 ? "latent frames" : "frames";
  if (latents->shape != shape) {
    throw Error(Code::InvalidArgument,
                "latents has the shape " + ShapeText(latents->shape) + " but must be " +
                    ShapeText(shape) + ", [channels, " + frames + ", height / " +
                    std::to_string(unit) + ", width / " + std::to_string(unit) +
                    "] of a video of " + std::to_string(spec.frames) + " frames, " +
                    std::to_string(spec.width) + "x" + std::to_string(spec.height) + " pixels");
  }
  if (latents->values.size() != static_cast<size_t>(shape[0] * shape[1] * shape[2] * shape[3])) {
    throw Error(Code::InvalidArgument, "latents has not as many numbers as its shape");
  }
  if (!std::all_of(latents->values.begin(), latents->values.end(),
                   [](float value) { return std::isfinite(value); })) {
    throw Error(Code::InvalidArgument, "latents holds numbers that are not finite");
  }
  return latents->values;
}

int FirstStep(const VideoOptions& options, const VideoGenerationSpec& spec,
              const ComponentsSpec& components) {
  const double strength = options.strength.value_or(kDefaultStrength);
  CheckRange(kStrength, strength);
  if (components.transformer) {
    throw Error(
        Code::Bundle,
        "this bundle's transformer makes videos of texts alone, and none from another video "
        "or from a picture; leave video out");
  }
  if (!components.vae_encoder) {
    throw Error(Code::Bundle,
                "this bundle has no vae_encoder, so it makes no video from another one or from a "
                "picture; export it with --video-to-video");
  }
  const int done = std::min(static_cast<int>(spec.steps * strength), spec.steps);
  if (done > 0) return spec.steps - done;
  std::ostringstream text;
  text << "strength is " << strength << ", which leaves none of " << spec.steps
       << (spec.steps == 1 ? " step" : " steps") << "; use a larger one, or more steps";
  throw Error(Code::InvalidArgument, text.str());
}

std::optional<SourceVideo> ResolveSource(const VideoOptions& options,
                                         const VideoGenerationSpec& spec,
                                         const ComponentsSpec& components,
                                         const ort::Targets& targets) {
  if (!options.video) {
    if (!options.strength) return std::nullopt;
    CheckRange(kStrength, *options.strength);
    throw Error(
        Code::InvalidArgument,
        "strength is of a video that is made from another one or from a picture; pass it as "
        "video, or leave strength out");
  }
  const int first_step = FirstStep(options, spec, components);
  const Frames& frames = *options.video;
  CheckVideo(View(frames));
  if ((frames.count != 1 && frames.count != spec.frames) || frames.width != spec.width ||
      frames.height != spec.height) {
    throw Error(Code::InvalidArgument,
                "video has " + SizeText(frames.count, frames.width, frames.height) +
                    " but must have " + SizeText(spec.frames, spec.width, spec.height) +
                    ", or one frame of that size; resize it, or set frames, width and height");
  }
  const Variant& variant = Place(components.vae_encoder->variants, targets, "vae_encoder").variant;
  CheckSpan("width", spec.width, 1, variant, "width");
  CheckSpan("height", spec.height, 1, variant, "height");
  return SourceVideo{frames, first_step};
}

uint64_t LeastBytes(const VideoGenerationSpec& spec, const ComponentsSpec& components) {
  const auto frames = static_cast<uint64_t>(spec.frames);
  const auto area = static_cast<uint64_t>(spec.height) * static_cast<uint64_t>(spec.width);
  const std::array<int64_t, 4> shape = LatentShape(spec, components);
  const auto places = static_cast<uint64_t>(shape[2] * shape[3]);
  const uint64_t floats = static_cast<uint64_t>(shape[0] * shape[1]) * places;
  const uint64_t batch = spec.guidance_scale != 1.0 ? 2 : 1;
  // What is denoised, and its prediction; a causal decoder's caches, which come after them.
  uint64_t numbers = 2 * batch * floats;
  if (const auto& causal = components.vae_decoder->causal) {
    uint64_t kept = 0;
    for (const CacheSpec& cache : causal->caches) {
      const auto scale = static_cast<uint64_t>(cache.scale);
      kept += kCacheFrames * static_cast<uint64_t>(cache.channels) * places * scale * scale;
    }
    numbers = std::max(numbers, floats + kept);
  }
  if (const auto& whole = components.vae_decoder->whole) {
    uint64_t noises = 0;
    for (const int scale : whole->noise_scales) {
      noises += places * static_cast<uint64_t>(scale) * static_cast<uint64_t>(scale);
    }
    numbers = std::max(numbers, 2 * floats + noises + frames * area * 3);
  }
  return frames * area * 3 + numbers * sizeof(float);
}

void CheckMemory(const VideoGenerationSpec& spec, const ComponentsSpec& components) {
  constexpr uint64_t kNotWorthAsking = 64'000'000;
  const uint64_t least = LeastBytes(spec, components);
  if (least < kNotWorthAsking) return;
  const std::optional<uint64_t> available = AvailableMemory();
  if (!available || least <= *available) return;
  const auto megabytes = [](uint64_t bytes) { return std::to_string(bytes / 1'000'000) + " MB"; };
  throw Error(Code::InvalidArgument,
              "a video of " + std::to_string(spec.frames) + " frames of " +
                  std::to_string(spec.width) + "x" + std::to_string(spec.height) +
                  " takes at least " + megabytes(least) + " of memory, and " +
                  megabytes(*available) + " are free; ask for fewer or smaller frames");
}

void CheckProfiles(const VideoGenerationSpec& spec, const ComponentsSpec& components,
                   const ort::Targets& targets) {
  const int unit = components.vae_decoder->scale_factor;
  const Denoiser denoiser = DenoiserOf(components);
  const Variant& network = Place(*denoiser.variants, targets, denoiser.name).variant;
  CheckFrames(spec.frames, *components.vae_decoder, network);
  CheckSpan("width", spec.width, unit, network, "width");
  CheckSpan("height", spec.height, unit, network, "height");
  // The VAE takes the frames in pieces of its own choice, one latent frame at a time, or all.
  const Variant& vae = Place(components.vae_decoder->variants, targets, "vae_decoder").variant;
  if (components.vae_decoder->whole) CheckFrames(spec.frames, *components.vae_decoder, vae);
  CheckSpan("width", spec.width, unit, vae, "latent_width");
  CheckSpan("height", spec.height, unit, vae, "latent_height");
}

}  // namespace g4v
