#include "diffusion/vae.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "base/error.h"
#include "diffusion/noise.h"
#include "diffusion/pixels.h"

namespace g4v {
namespace {

using ort::NamedTensor;
using ort::View;

// Pixels that go through the VAE at once: its activations are the peak of the memory of a video.
constexpr int64_t kPixelsAtOnce = 1 << 18;

// The sizes of a video and of its latents.
struct Sizes {
  Sizes(const VaeDecoderSpec& vae, const VideoGenerationSpec& spec)
      : frames(spec.frames),
        height(spec.height),
        width(spec.width),
        channels(vae.latent_channels),
        latent_height(height / vae.scale_factor),
        latent_width(width / vae.scale_factor),
        at_once(std::clamp<int64_t>(kPixelsAtOnce / (height * width), 1, frames)) {}

  int64_t area() const { return latent_height * latent_width; }

  int64_t frames;
  int64_t height;
  int64_t width;
  int64_t channels;
  int64_t latent_height;
  int64_t latent_width;
  int64_t at_once;  // frames
};

// Mean and logarithm of the variance, [F, 2 C, h, w], of the frames' latents.
std::vector<float> EncodeMoments(ort::Session& encoder, const Sizes& sizes, const Frames& frames,
                                 ort::RunControl& control) {
  const int64_t area = sizes.height * sizes.width;
  std::vector<float> found;
  std::vector<float> images;
  std::vector<float> part;
  for (int64_t first = 0; first < frames.count; first += sizes.at_once) {
    const int64_t count = std::min(sizes.at_once, frames.count - first);
    images.resize(static_cast<size_t>(count * 3 * area));
    part.resize(static_cast<size_t>(count * 2 * sizes.channels * sizes.area()));
    for (int64_t f = 0; f < count; ++f) {
      FromPixels(frames.pixels->data() + (first + f) * area * 3, area,
                 images.data() + f * 3 * area);
    }
    const NamedTensor in{"images", View(images, {count, 3, sizes.height, sizes.width})};
    const NamedTensor out{"moments", View(part, {count, 2 * sizes.channels, sizes.latent_height,
                                                 sizes.latent_width})};
    encoder.Run({&in, 1}, {&out, 1}, &control);
    found.insert(found.end(), part.begin(), part.end());
    CheckNotCancelled(control);
  }
  return found;
}

}  // namespace

void CheckNotCancelled(const ort::RunControl& control) {
  if (control.terminated()) throw Error(Code::Cancelled, "cancelled");
}

void FromUnitVariance(const VaeDecoderSpec& vae, int64_t channel, std::span<const float> latents,
                      float* to) {
  const auto c = static_cast<size_t>(channel);
  const float scale = static_cast<float>(vae.std(c) / vae.scaling_factor);
  const float shift = static_cast<float>(vae.mean(c));
  for (const float value : latents) *to++ = value * scale + shift;
}

void TellDecoded(const DecodedFrames& decoded, const std::vector<uint8_t>& pixels, int64_t first,
                 int64_t count, int64_t height, int64_t width) {
  if (!decoded) return;
  const FramesView view{pixels.data() + first * height * width * 3, count, height, width};
  decoded(CopyFrames(view), first);
}

Frames DecodeLatents(ort::Session& decoder, const VaeDecoderSpec& vae,
                     const VideoGenerationSpec& spec, const std::vector<float>& latents,
                     ort::RunControl& control, const DecodedFrames& decoded) {
  const Sizes sizes(vae, spec);
  const auto [frames, height, width] = std::array{sizes.frames, sizes.height, sizes.width};
  const int64_t channels = sizes.channels;
  const int64_t area = sizes.area();
  auto pixels =
      std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(frames * height * width * 3));
  std::vector<float> input;
  std::vector<float> images;
  for (int64_t first = 0; first < frames; first += sizes.at_once) {
    const int64_t count = std::min(sizes.at_once, frames - first);
    input.resize(static_cast<size_t>(count * channels * area));
    images.resize(static_cast<size_t>(count * 3 * height * width));
    for (int64_t f = 0; f < count; ++f) {
      for (int64_t c = 0; c < channels; ++c) {
        const float* from = latents.data() + (c * frames + first + f) * area;
        FromUnitVariance(vae, c, {from, static_cast<size_t>(area)},
                         input.data() + (f * channels + c) * area);
      }
    }
    const NamedTensor in{"latents",
                         View(input, {count, channels, sizes.latent_height, sizes.latent_width})};
    const NamedTensor out{"images", View(images, {count, 3, height, width})};
    decoder.Run({&in, 1}, {&out, 1}, &control);
    for (int64_t f = 0; f < count; ++f) {
      ToPixels(images.data() + f * 3 * height * width, height * width,
               pixels->data() + (first + f) * height * width * 3);
    }
    CheckNotCancelled(control);
    TellDecoded(decoded, *pixels, first, count, height, width);
  }
  return {std::move(pixels), frames, static_cast<int>(height), static_cast<int>(width)};
}

std::vector<float> EncodeFrames(ort::Session& encoder, const VaeDecoderSpec& vae,
                                const VideoGenerationSpec& spec, const Frames& frames,
                                uint64_t seed, ort::RunControl& control) {
  const Sizes sizes(vae, spec);
  const std::vector<float> moments = EncodeMoments(encoder, sizes, frames, control);
  const int64_t area = sizes.area();
  std::vector<float> latents(static_cast<size_t>(sizes.channels * sizes.frames * area));
  FillNoise(seed, latents, kPosterior);
  for (int64_t c = 0; c < sizes.channels; ++c) {
    for (int64_t f = 0; f < sizes.frames; ++f) {
      const int64_t source = frames.count == 1 ? 0 : f;
      const float* mean = moments.data() + (source * 2 * sizes.channels + c) * area;
      const float* log_variance = mean + sizes.channels * area;
      const double shift = vae.mean(static_cast<size_t>(c));
      const double scale = vae.scaling_factor / vae.std(static_cast<size_t>(c));
      float* to = latents.data() + (c * sizes.frames + f) * area;
      for (int64_t i = 0; i < area; ++i) {
        // diffusers' DiagonalGaussianDistribution has the same bounds.
        const double deviation = std::exp(0.5 * std::clamp(double{log_variance[i]}, -30.0, 20.0));
        to[i] = static_cast<float>((mean[i] + deviation * to[i] - shift) * scale);
      }
    }
  }
  return latents;
}

}  // namespace g4v
