#include "diffusion/video_shape.h"

#include <algorithm>

#include "base/option.h"

namespace g4v {
namespace {

void CheckSide(OptionRange range, int value, int unit, int positions) {
  range.least = unit;
  CheckRange(range, value);
  const std::string what = std::string(range.name) + " is " + std::to_string(value);
  if (value % unit != 0) {
    throw Error(Code::InvalidArgument, what + " but must be a multiple of " + std::to_string(unit));
  }
  if (positions > 0 && value / unit > positions) {
    throw Error(Code::InvalidArgument,
                what + " but this bundle's transformer has positions for at most " +
                    std::to_string(int64_t{positions} * unit));
  }
}

}  // namespace

Denoiser DenoiserOf(const ComponentsSpec& components) {
  if (components.transformer) {
    const TransformerSpec& spec = *components.transformer;
    return {"transformer",  &spec.variants,      spec.latent_channels,
            false,          spec.patch_size[1],  spec.patch_size[2],
            spec.positions, spec.attention_mask, spec.frame_seconds};
  }
  const UnetSpec& spec = Require(components.unet, "unet");
  return {"unet", &spec.variants, spec.latent_channels, spec.whole_timesteps};
}

int LatentFrames(const VaeDecoderSpec& vae, int frames) {
  return (frames - 1) / vae.frames_per_latent() + 1;
}

std::vector<float> FrameSeconds(const VideoGenerationSpec& spec, const VaeDecoderSpec& vae) {
  // In float32, as the pipelines have it: angles of the rotary embedding are thousands of times as large.
  if (spec.pipeline == kLtxConditionPipeline) {
    const auto frame = static_cast<float>(1.0 / spec.fps);
    std::vector<float> seconds;
    for (int i = 0; i < LatentFrames(vae, spec.frames); ++i) {
      const int64_t first = 1 + int64_t{i - 1} * vae.frames_per_latent();
      seconds.push_back(static_cast<float>(std::max<int64_t>(first, 0)) * frame);
    }
    return seconds;
  }
  const auto between = static_cast<float>(vae.frames_per_latent() / spec.fps);
  std::vector<float> seconds;
  for (int i = 0; i < LatentFrames(vae, spec.frames); ++i) {
    seconds.push_back(static_cast<float>(i) * between);
  }
  return seconds;
}

std::array<int64_t, 4> LatentShape(const VideoGenerationSpec& spec,
                                   const ComponentsSpec& components) {
  const VaeDecoderSpec& vae = *components.vae_decoder;
  return {vae.latent_channels, LatentFrames(vae, spec.frames), spec.height / vae.scale_factor,
          spec.width / vae.scale_factor};
}

void CheckShape(const VideoGenerationSpec& spec, const ComponentsSpec& components) {
  const VaeDecoderSpec& vae = *components.vae_decoder;
  const Denoiser denoiser = DenoiserOf(components);
  CheckRange(kFrames, spec.frames);
  CheckSide(kWidth, spec.width, vae.scale_factor * denoiser.patch_width, denoiser.positions);
  CheckSide(kHeight, spec.height, vae.scale_factor * denoiser.patch_height, denoiser.positions);
  const int made = vae.frames_per_latent();
  const int latents = LatentFrames(vae, spec.frames);
  const std::string what = "frames is " + std::to_string(spec.frames);
  if ((spec.frames - 1) % made != 0) {
    const int fewer = (latents - 1) * made + 1;
    throw Error(Code::InvalidArgument,
                what + " but must be 1 more than a multiple of " + std::to_string(made) +
                    ", such as " + std::to_string(fewer) + " or " + std::to_string(fewer + made));
  }
  if (denoiser.positions > 0 && latents > denoiser.positions) {
    throw Error(Code::InvalidArgument,
                what + " but this bundle's transformer has positions for at most " +
                    std::to_string((int64_t{denoiser.positions} - 1) * made + 1));
  }
}

}  // namespace g4v
