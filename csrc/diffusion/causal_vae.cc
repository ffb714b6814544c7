#include "diffusion/causal_vae.h"

#include <algorithm>
#include <memory>
#include <string>

#include "diffusion/pixels.h"

namespace g4v {

using ort::NamedTensor;
using ort::View;

Frames DecodeChunks(ort::Session& decoder, const VaeDecoderSpec& vae,
                    const VideoGenerationSpec& spec, const std::vector<float>& latents,
                    ort::RunControl& control, const DecodedFrames& decoded) {
  const CausalSpec& causal = *vae.causal;
  const int64_t height = spec.height, width = spec.width, frames = spec.frames;
  const int64_t low = height / vae.scale_factor, narrow = width / vae.scale_factor;
  const int64_t channels = vae.latent_channels, area = low * narrow;
  const int64_t made = causal.frames_per_latent;
  const int64_t chunks = (frames - 1) / made + 1;

  std::vector<float> input(static_cast<size_t>(channels * area));
  std::vector<float> images(static_cast<size_t>(made * 3 * height * width));
  std::vector<int64_t> first = {1};
  std::vector<std::vector<float>> caches;  // zeros for the first chunk
  std::vector<NamedTensor> inputs = {{"latents", View(input, {1, channels, low, narrow})},
                                     {"first", View(first, {1})}};
  std::vector<NamedTensor> outputs = {{"images", View(images, {made, 3, height, width})}};
  caches.reserve(causal.caches.size());
  for (const CacheSpec& cache : causal.caches) {
    const std::vector<int64_t> shape = {kCacheFrames, cache.channels, low * cache.scale,
                                        narrow * cache.scale};
    std::vector<float>& values = caches.emplace_back(ort::ElementCount(shape));
    const std::string name = "cache." + std::to_string(caches.size() - 1);
    // A graph reads a cache before it makes the next one of what it has read.
    inputs.push_back({name, View(values, shape)});
    outputs.push_back({"next_" + name, View(values, shape)});
  }

  auto pixels =
      std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(frames * height * width * 3));
  uint8_t* to = pixels->data();
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    for (int64_t c = 0; c < channels; ++c) {
      const float* from = latents.data() + (c * chunks + chunk) * area;
      FromUnitVariance(vae, c, {from, static_cast<size_t>(area)}, input.data() + c * area);
    }
    first[0] = chunk == 0 ? 1 : 0;
    decoder.Run(inputs, outputs, &control);
    const int64_t count = chunk == 0 ? 1 : made;  // the others of a first chunk repeat it
    for (int64_t f = 0; f < count; ++f, to += height * width * 3) {
      ToPixels(images.data() + f * 3 * height * width, height * width, to);
    }
    CheckNotCancelled(control);
    const int64_t done = (to - pixels->data()) / (height * width * 3);
    TellDecoded(decoded, *pixels, done - count, count, height, width);
  }
  return {std::move(pixels), static_cast<int>(frames), static_cast<int>(height),
          static_cast<int>(width)};
}

}  // namespace g4v
