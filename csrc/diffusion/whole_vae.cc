#include "diffusion/whole_vae.h"

#include <memory>
#include <string>

#include "diffusion/noise.h"
#include "diffusion/pixels.h"
#include "diffusion/vae.h"

namespace g4v {
namespace {

using ort::NamedTensor;
using ort::View;

// [f, C, h, w] as the decoder takes them. A decoder that takes a time step expects the noise that is
// left at it.
std::vector<float> DecoderLatents(const VaeDecoderSpec& vae, const VideoGenerationSpec& spec,
                                  const std::vector<float>& latents, int64_t frames, int64_t area,
                                  uint64_t seed) {
  const int64_t channels = vae.latent_channels;
  std::vector<float> noise;
  const auto share = static_cast<float>(spec.decode_noise_scale);
  if (vae.whole->timestep && share > 0) {
    noise.resize(latents.size());
    FillNoise(seed, noise, kDecodeNoise);
  }
  std::vector<float> found(latents.size());
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t f = 0; f < frames; ++f) {
      const int64_t from = (c * frames + f) * area;
      float* to = found.data() + (f * channels + c) * area;
      FromUnitVariance(vae, c, {latents.data() + from, static_cast<size_t>(area)}, to);
      if (noise.empty()) continue;
      for (int64_t i = 0; i < area; ++i) to[i] = (1 - share) * to[i] + share * noise[from + i];
    }
  }
  return found;
}

}  // namespace

Frames DecodeWhole(ort::Session& decoder, const VaeDecoderSpec& vae,
                   const VideoGenerationSpec& spec, const std::vector<float>& latents,
                   uint64_t seed, ort::RunControl& control, const DecodedFrames& decoded) {
  const WholeSpec& whole = *vae.whole;
  const int64_t height = spec.height, width = spec.width, frames = spec.frames;
  const int64_t low = height / vae.scale_factor, narrow = width / vae.scale_factor;
  const int64_t count = (frames - 1) / whole.frames_per_latent + 1;
  std::vector<float> input = DecoderLatents(vae, spec, latents, count, low * narrow, seed);
  std::vector<float> timestep = {static_cast<float>(spec.decode_timestep)};
  std::vector<float> images(static_cast<size_t>(frames * 3 * height * width));
  std::vector<NamedTensor> inputs = {
      {"latents", View(input, {count, vae.latent_channels, low, narrow})}};
  if (whole.timestep) inputs.push_back({"timestep", View(timestep, {1})});
  std::vector<std::vector<float>> noises;
  noises.reserve(whole.noise_scales.size());
  for (const int scale : whole.noise_scales) {
    const std::vector<int64_t> shape = {1, 1, low * scale, narrow * scale};
    std::vector<float>& noise = noises.emplace_back(ort::ElementCount(shape));
    const uint64_t index = noises.size() - 1;
    FillNoise(seed, noise, kLayerNoise - index);
    inputs.push_back({"noise." + std::to_string(index), View(noise, shape)});
  }
  const NamedTensor output{"images", View(images, {frames, 3, height, width})};
  decoder.Run(inputs, {&output, 1}, &control);
  CheckNotCancelled(control);

  auto pixels = std::make_shared<std::vector<uint8_t>>(images.size());
  for (int64_t f = 0; f < frames; ++f) {
    const int64_t at = f * 3 * height * width;
    ToPixels(images.data() + at, height * width, pixels->data() + at);
  }
  TellDecoded(decoded, *pixels, 0, frames, height, width);
  return {std::move(pixels), static_cast<int>(frames), static_cast<int>(height),
          static_cast<int>(width)};
}

}  // namespace g4v
