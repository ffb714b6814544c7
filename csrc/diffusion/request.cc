#include "diffusion/request.h"

#include <algorithm>
#include <cmath>

#include "base/memory.h"
#include "base/option.h"
#include "base/utf8.h"
#include "diffusion/scheduler.h"

namespace g4v {
namespace {

void CheckSide(OptionRange range, int value, int unit) {
  range.least = unit;
  CheckRange(range, value);
  if (value % unit != 0) {
    throw Error(Code::InvalidArgument, std::string(range.name) + " is " + std::to_string(value) +
                                           " but must be a multiple of " + std::to_string(unit));
  }
}

std::string ShapeText(const std::array<int64_t, 4>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "[" : ", ") + std::to_string(size);
  return text + "]";
}

// `unit` pixels are one of the dimension's steps.
void CheckSpan(const char* name, int value, int unit, const Variant& variant,
               const std::string& dimension) {
  const auto found = variant.profile.find(dimension);
  if (found == variant.profile.end()) return;
  const int least = found->second.least * unit;
  const int most = found->second.most * unit;
  if (value >= least && value <= most) return;
  const std::string able =
      least == most ? std::to_string(most) : std::to_string(least) + " to " + std::to_string(most);
  throw Error(Code::InvalidArgument, std::string(name) + " is " + std::to_string(value) +
                                         " but the bundle's " + variant.target +
                                         " engine is built for " + able +
                                         "; export another with --frames and --video-size");
}

// The sampler is one of the bundle's, can take the steps, and its time steps fit the graph.
void CheckScheduler(const VideoGenerationSpec& spec, const UnetSpec& unet) {
  const std::vector<std::string>& able = spec.schedulers;
  const std::string& type = spec.scheduler.type;
  if (std::find(able.begin(), able.end(), type) == able.end()) {
    const std::vector<std::string_view> words(able.begin(), able.end());
    throw Error(Code::InvalidArgument, "scheduler is \"" + type + "\" but must be " + OneOf(words) +
                                           ", which this bundle's model can take");
  }
  const std::unique_ptr<Scheduler> scheduler = Scheduler::Make(spec.scheduler, spec.steps);
  if (!unet.whole_timesteps) return;
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

VideoGenerationSpec ResolveVideoOptions(const VideoGenerationSpec& defaults,
                                        const ComponentsSpec& components, const VideoOptions& first,
                                        const VideoOptions& second) {
  const int scale_factor = components.vae_decoder->scale_factor;
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
  CheckRange(kFrames, spec.frames);
  CheckSide(kWidth, spec.width, scale_factor);
  CheckSide(kHeight, spec.height, scale_factor);
  CheckRange(kFps, spec.fps);
  CheckRange(kGuidanceScale, spec.guidance_scale);
  if (!IsValidUtf8(spec.negative_prompt)) {
    throw Error(Code::InvalidArgument, "negative_prompt is not valid UTF-8 text");
  }
  CheckScheduler(spec, *components.unet);
  return spec;
}

std::vector<float> CheckLatents(const std::optional<InitialLatents>& latents,
                                const VideoGenerationSpec& spec, const ComponentsSpec& components) {
  if (!latents) return {};
  const int unit = components.vae_decoder->scale_factor;
  const std::array<int64_t, 4> shape = {components.unet->latent_channels, spec.frames,
                                        spec.height / unit, spec.width / unit};
  if (latents->shape != shape) {
    throw Error(Code::InvalidArgument,
                "latents has the shape " + ShapeText(latents->shape) + " but must be " +
                    ShapeText(shape) + ", [channels, frames, height / " + std::to_string(unit) +
                    ", width / " + std::to_string(unit) + "] of a video of " +
                    std::to_string(spec.frames) + " frames, " + std::to_string(spec.width) + "x" +
                    std::to_string(spec.height) + " pixels");
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

uint64_t LeastBytes(const VideoGenerationSpec& spec, int latent_channels, int scale_factor) {
  const auto frames = static_cast<uint64_t>(spec.frames);
  const auto area = static_cast<uint64_t>(spec.height) * static_cast<uint64_t>(spec.width);
  const auto unit = static_cast<uint64_t>(scale_factor);
  const uint64_t pixels = frames * area * 3;
  const uint64_t floats = frames * area / (unit * unit) * static_cast<uint64_t>(latent_channels);
  const uint64_t batch = spec.guidance_scale != 1.0 ? 2 : 1;
  return pixels + 2 * batch * floats * sizeof(float);  // what is denoised, and its prediction
}

void CheckMemory(const VideoGenerationSpec& spec, int latent_channels, int scale_factor) {
  constexpr uint64_t kNotWorthAsking = 64'000'000;
  const uint64_t least = LeastBytes(spec, latent_channels, scale_factor);
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
  const Variant& unet = Place(components.unet->variants, targets, "unet").variant;
  CheckSpan("frames", spec.frames, 1, unet, "frames");
  CheckSpan("width", spec.width, unit, unet, "width");
  CheckSpan("height", spec.height, unit, unet, "height");
  // The VAE takes the frames in pieces of its own choice.
  const Variant& vae = Place(components.vae_decoder->variants, targets, "vae_decoder").variant;
  CheckSpan("width", spec.width, unit, vae, "latent_width");
  CheckSpan("height", spec.height, unit, vae, "latent_height");
}

}  // namespace g4v
