// Sizes of a video and of its latents, as the bundle's networks take them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "bundle/manifest.h"

namespace g4v {

// The network that denoises: a UNet or a transformer, whose graphs have the same inputs and outputs.
struct Denoiser {
  std::string name;  // of the component
  const std::vector<Variant>* variants = nullptr;
  int latent_channels = 0;
  bool whole_timesteps = false;
  int patch_height = 1;  // latents for one token
  int patch_width = 1;
  int positions = 0;            // most patches along frames, height or width; 0: any number
  bool attention_mask = false;  // it takes the mask of the texts
  bool frame_seconds = false;   // it takes the time of each latent frame
};

// Throws Error(Bundle) where there is neither. `components` must outlive what is returned.
Denoiser DenoiserOf(const ComponentsSpec& components);

// Latent frames of a video of so many frames.
int LatentFrames(const VaeDecoderSpec& vae, int frames);

// When each latent frame of a video is shown, in seconds: frames_per_latent frames apart, from 0. Of
// LTXConditionPipeline the first latent, which is one frame alone, takes the time of one: latent i is
// at frame 1 + (i - 1) * frames_per_latent.
std::vector<float> FrameSeconds(const VideoGenerationSpec& spec, const VaeDecoderSpec& vae);

// [C, f, h, w] of the latents of a video.
std::array<int64_t, 4> LatentShape(const VideoGenerationSpec& spec,
                                   const ComponentsSpec& components);

// Throws Error(InvalidArgument), which names the option, where the networks make no video of so many
// frames and of such a width and height.
void CheckShape(const VideoGenerationSpec& spec, const ComponentsSpec& components);

}  // namespace g4v
