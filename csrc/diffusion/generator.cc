#include "diffusion/generator.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "base/memory.h"
#include "base/process.h"
#include "diffusion/causal_vae.h"
#include "diffusion/noise.h"
#include "diffusion/scheduler.h"
#include "diffusion/whole_vae.h"

namespace g4v {
namespace {

using ort::NamedTensor;
using ort::View;

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

// From standard normal numbers to the sample of a step that starts from `image`.
void AddNoise(const std::vector<float>& image, const Scheduler::Mix& mix,
              std::vector<float>& noise) {
  for (size_t i = 0; i < noise.size(); ++i) {
    noise[i] = static_cast<float>(mix.image * image[i] + mix.noise * noise[i]);
  }
}

}  // namespace

VideoGenerator::VideoGenerator(std::shared_ptr<ort::Environment> environment, const Bundle& bundle,
                               const Tokenizer& tokenizer, Placement placement)
    : bundle_(bundle),
      placement_(placement),
      text_encoder_(bundle, tokenizer),
      denoiser_(DenoiserOf(bundle.manifest().components)),
      vae_decoder_(Require(bundle.manifest().components.vae_decoder, "vae decoder")) {
  const auto open = [this, environment, placement](const std::vector<Variant>& variants,
                                                   const std::string& component) {
    return std::make_unique<ort::Session>(environment,
                                          GraphFor(bundle_, variants, placement, component));
  };
  sessions_ = StartAsync([this, environment, placement, open] {
                auto sessions = std::make_shared<Sessions>();
                text_encoder_.Open(environment, placement);
                sessions->denoiser = open(*denoiser_.variants, denoiser_.name);
                sessions->vae_decoder = open(vae_decoder_.variants, "vae_decoder");
                if (const auto& encoder = bundle_.manifest().components.vae_encoder) {
                  sessions->vae_encoder = open(encoder->variants, "vae_encoder");
                }
                ReturnFreedMemory();  // of the whole load, which this ends
                return sessions;
              }).share();
}

Frames VideoGenerator::Generate(const VideoRequest& request, ort::RunControl& control,
                                const VideoListener& listener) {
  // The sessions may still be loading: a cancel does not wait for them.
  while (sessions_.wait_for(std::chrono::milliseconds(20)) != std::future_status::ready) {
    CheckNotCancelled(control);
  }
  sessions_.get();
  bundle_.CheckUnchanged();
  CheckMemory(request.spec, bundle_.manifest().components);
  const std::vector<float> latents = Denoise(request, control, listener);
  return Decode(request.spec, latents, request.seed, control, listener.decoded);
}

Frames VideoGenerator::Decode(const VideoGenerationSpec& spec, const std::vector<float>& latents,
                              uint64_t seed, ort::RunControl& control,
                              const DecodedFrames& decoded) const {
  ort::Session& decoder = *sessions_.get()->vae_decoder;
  if (vae_decoder_.whole) {
    return DecodeWhole(decoder, vae_decoder_, spec, latents, seed, control, decoded);
  }
  const auto decode = vae_decoder_.causal ? &DecodeChunks : &DecodeLatents;
  return decode(decoder, vae_decoder_, spec, latents, control, decoded);
}

Frames VideoGenerator::Preview(const LatentFrame& clean, const VideoRequest& request,
                               ort::RunControl& control) const {
  const Variant& variant = Place(vae_decoder_.variants, placement_.targets, "vae_decoder").variant;
  const LatentFrame pooled = PoolForPreview(clean, vae_decoder_.scale_factor, variant.profile);
  VideoGenerationSpec spec = request.spec;
  spec.frames = 1;
  spec.height = static_cast<int>(pooled.height) * vae_decoder_.scale_factor;
  spec.width = static_cast<int>(pooled.width) * vae_decoder_.scale_factor;
  return ShrinkForPreview(Decode(spec, pooled.values, request.seed, control, {}));
}

bool VideoGenerator::ReadsWhole(const VideoRequest& request) const {
  if (!request.prompt_weighting) return text_encoder_.ReadsWhole(request.caption);
  return text_encoder_.ReadsWhole(ParsePromptWeights(request.caption, "the prompt"));
}

// [B, L, D]: the negative prompt first where guidance needs it.
TextStates VideoGenerator::EncodeText(const VideoRequest& request, bool guided,
                                      ort::RunControl& control) const {
  if (request.prompt_weighting) {
    std::vector<WeightedText> weighted;
    if (guided) {
      weighted.push_back(ParsePromptWeights(request.spec.negative_prompt, "negative_prompt"));
    }
    weighted.push_back(ParsePromptWeights(request.caption, "the prompt"));
    return text_encoder_.EncodeWeighted(weighted, control);
  }
  std::vector<std::string> texts;
  if (guided) texts.push_back(request.spec.negative_prompt);
  texts.push_back(request.caption);
  return text_encoder_.Encode(texts, control);
}

// Latents [C, f, h, w].
std::vector<float> VideoGenerator::Denoise(const VideoRequest& request, ort::RunControl& control,
                                           const VideoListener& listener) const {
  const VideoGenerationSpec& spec = request.spec;
  const bool guided = spec.guidance_scale != 1.0;
  const int64_t batch = guided ? 2 : 1;
  const TextStates text = EncodeText(request, guided, control);

  const auto [channels, frames, height, width] = LatentShape(spec, bundle_.manifest().components);
  const std::vector<int64_t> shape = {batch, channels, frames, height, width};
  const size_t count = static_cast<size_t>(channels * frames * height * width);
  std::vector<float> latents(count);
  const auto fill = [&](uint64_t stream, std::span<float> noise) {
    FillVideoNoise(request.seed, spec.shared_noise, shape[1], shape[2], shape[3] * shape[4], noise,
                   stream);
  };
  if (request.latents.empty()) {
    fill(0, latents);
  } else {
    latents = request.latents;
  }
  const int first = request.first_step();
  const std::unique_ptr<Scheduler> scheduler = Scheduler::Make(spec.scheduler, spec.steps, first);
  if (request.source) {
    const std::vector<float> image = EncodeFrames(*sessions_.get()->vae_encoder, vae_decoder_, spec,
                                                  request.source->frames, request.seed, control);
    AddNoise(image, scheduler->NoiseAt(first), latents);
  } else {
    Scale(latents, scheduler->init_noise_sigma(), latents);
  }

  std::vector<float> sample(count * static_cast<size_t>(batch));
  std::vector<float> prediction(sample.size());
  std::vector<float> noise;  // that a step adds
  std::vector<int64_t> whole(1);
  std::vector<float> timestep(1);
  const auto time = denoiser_.whole_timesteps ? View(whole, {1}) : View(timestep, {1});
  std::vector<NamedTensor> inputs = {
      {"sample", View(sample, shape)},
      {"timestep", time},
      {"encoder_hidden_states",
       View(text.hidden, {batch, text_encoder_.length(), text_encoder_.hidden_size()})}};
  std::vector<int64_t> mask;
  if (denoiser_.attention_mask) {
    mask = text.Mask();
    inputs.push_back({"encoder_attention_mask", View(mask, {batch, text_encoder_.length()})});
  }
  std::vector<float> seconds;
  if (denoiser_.frame_seconds) {
    seconds = FrameSeconds(spec, vae_decoder_);
    inputs.push_back({"frame_seconds", View(seconds, {frames})});
  }
  const NamedTensor output{"prediction", View(prediction, shape)};
  for (int step = first; step < spec.steps; ++step) {
    timestep[0] = static_cast<float>(scheduler->timesteps()[static_cast<size_t>(step)]);
    whole[0] = static_cast<int64_t>(timestep[0]);
    Scale(latents, scheduler->InputScale(step), std::span(sample).first(count));
    if (guided) std::copy_n(sample.begin(), count, sample.begin() + static_cast<ptrdiff_t>(count));
    sessions_.get()->denoiser->Run(inputs, {&output, 1}, &control);
    if (guided) ApplyGuidance(prediction, static_cast<float>(spec.guidance_scale));
    if (scheduler->AddsNoise(step)) {
      noise.resize(count);
      fill(static_cast<uint64_t>(step) + 1, noise);
    }
    const int done = step - first + 1;
    std::optional<LatentFrame> clean;  // from what the step begins with
    if (request.preview_every > 0 && done % request.preview_every == 0) {
      clean = MiddleFrame(*scheduler, step, prediction, latents, {channels, frames, height, width});
    }
    scheduler->Step(step, std::span(prediction).first(count), noise, latents);
    std::optional<Frames> preview;
    if (clean) preview = Preview(*clean, request, control);
    listener.progress(done, std::move(preview));
    CheckNotCancelled(control);
  }
  return latents;
}

}  // namespace g4v
