#include "diffusion/generator.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "base/memory.h"
#include "diffusion/noise.h"
#include "diffusion/scheduler.h"

namespace g4v {
namespace {

using ort::NamedTensor;
using ort::View;

// Pixels that the VAE decodes at once: its activations are the peak of the memory of a video.
constexpr int64_t kDecodePixels = 1 << 19;

void CheckNotCancelled(const ort::RunControl& control) {
  if (control.terminated()) throw Error(Code::Cancelled, "cancelled");
}

// unconditional + scale * (conditional - unconditional) of the two halves, into the first.
void ApplyGuidance(std::vector<float>& prediction, float scale) {
  const size_t half = prediction.size() / 2;
  for (size_t i = 0; i < half; ++i) {
    prediction[i] += scale * (prediction[half + i] - prediction[i]);
  }
}

void Scale(std::span<const float> from, double scale, std::span<float> to) {
  std::transform(from.begin(), from.end(), to.begin(),
                 [scale](float value) { return static_cast<float>(value * scale); });
}

// float [3, H, W] in [-1, 1] -> uint8 [H, W, 3], rounded.
void ToPixels(const float* image, int64_t area, uint8_t* pixels) {
  for (int64_t channel = 0; channel < 3; ++channel) {
    for (int64_t i = 0; i < area; ++i) {
      const float value = image[channel * area + i];
      if (!std::isfinite(value)) {
        throw Error(Code::Internal,
                    "the video generator's pixels are not finite; the bundle may be damaged");
      }
      pixels[i * 3 + channel] =
          static_cast<uint8_t>(std::lrint(std::clamp((value + 1.0f) * 127.5f, 0.0f, 255.0f)));
    }
  }
}

}  // namespace

VideoGenerator::VideoGenerator(std::shared_ptr<ort::Environment> environment, const Bundle& bundle,
                               const Tokenizer& tokenizer, Placement placement)
    : bundle_(bundle),
      tokenizer_(tokenizer),
      tokens_(Require(bundle.manifest().tokenizers.text_encoder, "text encoder tokenizer")),
      text_encoder_(Require(bundle.manifest().components.text_encoder, "text encoder")),
      unet_(Require(bundle.manifest().components.unet, "unet")),
      vae_decoder_(Require(bundle.manifest().components.vae_decoder, "vae decoder")) {
  const auto open = [this, environment, placement](const std::vector<Variant>& variants,
                                                   const std::string& component) {
    return std::make_unique<ort::Session>(environment,
                                          GraphFor(bundle_, variants, placement, component));
  };
  sessions_ = std::async(std::launch::async, [this, open] {
                auto sessions = std::make_shared<Sessions>();
                sessions->text_encoder = open(text_encoder_.variants, "text_encoder");
                sessions->unet = open(unet_.variants, "unet");
                sessions->vae_decoder = open(vae_decoder_.variants, "vae_decoder");
                ReturnFreedMemory();  // of the whole load, which this ends
                return sessions;
              }).share();
}

Frames VideoGenerator::Generate(const VideoRequest& request, ort::RunControl& control,
                                const std::function<void(int)>& progress) {
  // The sessions may still be loading: a cancel does not wait for them.
  while (sessions_.wait_for(std::chrono::milliseconds(20)) != std::future_status::ready) {
    CheckNotCancelled(control);
  }
  sessions_.get();
  bundle_.CheckUnchanged();
  CheckMemory(request.spec, unet_.latent_channels, vae_decoder_.scale_factor);
  const std::vector<float> latents = Denoise(request, control, progress);
  return Decode(request, latents, control);
}

size_t VideoGenerator::TextCapacity() const {
  const size_t length = static_cast<size_t>(text_encoder_.max_length);
  const size_t around = (tokens_.bos ? 1 : 0) + (tokens_.eos ? 1 : 0);
  return length - std::min(length, around);
}

bool VideoGenerator::ReadsWhole(const std::string& text) const {
  return tokenizer_.Encode(text).size() <= TextCapacity();
}

// [bos] text [eos] pad ..., cut to max_length as diffusers' pipelines cut it.
std::vector<int64_t> VideoGenerator::Tokenize(const std::string& text) const {
  const size_t length = static_cast<size_t>(text_encoder_.max_length);
  std::vector<int32_t> ids = tokenizer_.Encode(text);
  ids.resize(std::min(ids.size(), TextCapacity()));
  std::vector<int64_t> padded;
  if (tokens_.bos) padded.push_back(*tokens_.bos);
  padded.insert(padded.end(), ids.begin(), ids.end());
  if (tokens_.eos) padded.push_back(*tokens_.eos);
  padded.resize(length, tokens_.pad.value_or(0));
  return padded;
}

// [B, L, D]: the negative prompt first where guidance needs it.
std::vector<float> VideoGenerator::EncodeText(const VideoRequest& request, bool guided,
                                              ort::RunControl& control) const {
  std::vector<int64_t> ids;
  if (guided) ids = Tokenize(request.spec.negative_prompt);
  const std::vector<int64_t> caption = Tokenize(request.caption);
  ids.insert(ids.end(), caption.begin(), caption.end());
  const int64_t batch = guided ? 2 : 1;
  const int64_t length = text_encoder_.max_length;
  std::vector<float> hidden(static_cast<size_t>(batch * length * text_encoder_.hidden_size));
  const NamedTensor input{"input_ids", View(ids, {batch, length})};
  const NamedTensor output{"hidden_states",
                           View(hidden, {batch, length, text_encoder_.hidden_size})};
  sessions_.get()->text_encoder->Run({&input, 1}, {&output, 1}, &control);
  return hidden;
}

// Latents [C, F, h, w].
std::vector<float> VideoGenerator::Denoise(const VideoRequest& request, ort::RunControl& control,
                                           const std::function<void(int)>& progress) const {
  const VideoGenerationSpec& spec = request.spec;
  const bool guided = spec.guidance_scale != 1.0;
  const int64_t batch = guided ? 2 : 1;
  const std::vector<float> text = EncodeText(request, guided, control);

  const int64_t height = spec.height / vae_decoder_.scale_factor;
  const int64_t width = spec.width / vae_decoder_.scale_factor;
  const std::vector<int64_t> shape = {batch, unet_.latent_channels, spec.frames, height, width};
  const size_t count = static_cast<size_t>(shape[1] * shape[2] * shape[3] * shape[4]);
  std::vector<float> latents(count);
  const auto fill = [&](uint64_t stream, std::span<float> noise) {
    FillVideoNoise(request.seed, spec.shared_noise, unet_.latent_channels, spec.frames,
                   height * width, noise, stream);
  };
  if (request.latents.empty()) {
    fill(0, latents);
  } else {
    latents = request.latents;
  }

  std::vector<float> sample(count * static_cast<size_t>(batch));
  std::vector<float> prediction(sample.size());
  std::vector<float> noise;  // that a step adds
  std::vector<int64_t> whole(1);
  std::vector<float> timestep(1);
  const auto time = unet_.whole_timesteps ? View(whole, {1}) : View(timestep, {1});
  const std::array<NamedTensor, 3> inputs = {
      NamedTensor{"sample", View(sample, shape)}, NamedTensor{"timestep", time},
      NamedTensor{"encoder_hidden_states",
                  View(text, {batch, text_encoder_.max_length, text_encoder_.hidden_size})}};
  const NamedTensor output{"prediction", View(prediction, shape)};
  const std::unique_ptr<Scheduler> scheduler = Scheduler::Make(spec.scheduler, spec.steps);
  Scale(latents, scheduler->init_noise_sigma(), latents);
  for (int step = 0; step < spec.steps; ++step) {
    timestep[0] = static_cast<float>(scheduler->timesteps()[static_cast<size_t>(step)]);
    whole[0] = static_cast<int64_t>(timestep[0]);
    Scale(latents, scheduler->InputScale(step), std::span(sample).first(count));
    if (guided) std::copy_n(sample.begin(), count, sample.begin() + static_cast<ptrdiff_t>(count));
    sessions_.get()->unet->Run(inputs, {&output, 1}, &control);
    if (guided) ApplyGuidance(prediction, static_cast<float>(spec.guidance_scale));
    if (scheduler->AddsNoise(step)) {
      noise.resize(count);
      fill(static_cast<uint64_t>(step) + 1, noise);
    }
    scheduler->Step(step, std::span(prediction).first(count), noise, latents);
    progress(step + 1);
    CheckNotCancelled(control);
  }
  return latents;
}

Frames VideoGenerator::Decode(const VideoRequest& request, const std::vector<float>& latents,
                              ort::RunControl& control) const {
  const int64_t frames = request.spec.frames;
  const int64_t channels = vae_decoder_.latent_channels;
  const int64_t height = request.spec.height;
  const int64_t width = request.spec.width;
  const int64_t latent_height = height / vae_decoder_.scale_factor;
  const int64_t latent_width = width / vae_decoder_.scale_factor;
  const int64_t area = latent_height * latent_width;
  const float scale = static_cast<float>(1.0 / vae_decoder_.scaling_factor);
  const int64_t chunk = std::clamp<int64_t>(kDecodePixels / (height * width), 1, frames);

  auto pixels =
      std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(frames * height * width * 3));
  std::vector<float> input;
  std::vector<float> images;
  for (int64_t first = 0; first < frames; first += chunk) {
    const int64_t count = std::min(chunk, frames - first);
    input.resize(static_cast<size_t>(count * channels * area));
    images.resize(static_cast<size_t>(count * 3 * height * width));
    for (int64_t f = 0; f < count; ++f) {
      for (int64_t c = 0; c < channels; ++c) {
        const float* from = latents.data() + (c * frames + first + f) * area;
        float* to = input.data() + (f * channels + c) * area;
        for (int64_t i = 0; i < area; ++i) to[i] = from[i] * scale;
      }
    }
    const NamedTensor in{"latents", View(input, {count, channels, latent_height, latent_width})};
    const NamedTensor out{"images", View(images, {count, 3, height, width})};
    sessions_.get()->vae_decoder->Run({&in, 1}, {&out, 1}, &control);
    for (int64_t f = 0; f < count; ++f) {
      ToPixels(images.data() + f * 3 * height * width, height * width,
               pixels->data() + (first + f) * height * width * 3);
    }
    CheckNotCancelled(control);
  }
  return {std::move(pixels), frames, static_cast<int>(height), static_cast<int>(width)};
}

}  // namespace g4v
