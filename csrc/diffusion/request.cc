#include "diffusion/request.h"

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

}  // namespace

VideoGenerationSpec ResolveVideoOptions(const VideoGenerationSpec& defaults, int scale_factor,
                                        const VideoOptions& first, const VideoOptions& second) {
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
  Scheduler::Make(spec.scheduler, spec.steps);  // checks both
  return spec;
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
