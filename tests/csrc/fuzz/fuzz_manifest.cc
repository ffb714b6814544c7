// g4v.json (bundle/manifest.h), mutated as JSON. What is accepted holds what the rest of the core
// relies on, and its scheduler can be asked for steps.
#include <cmath>
#include <filesystem>

#include "bundle/manifest.h"
#include "diffusion/scheduler.h"
#include "fuzz.h"
#include "mutate.h"

using namespace g4v;
using fuzz::Require;

namespace {

void CheckVariants(const Manifest& manifest, const std::vector<Variant>& variants) {
  Require(!variants.empty(), "a component has a variant");
  for (const Variant& variant : variants) {
    Require(manifest.files.contains(variant.graph), "a graph is a file of the bundle");
    for (const std::string& file : variant.files)
      Require(manifest.files.contains(file), "so is what it reads");
    for (const auto& [name, span] : variant.profile) {
      Require(1 <= span.least && span.least <= span.usual && span.usual <= span.most,
              "a span ascends");
    }
  }
}

void CheckPaths(const Manifest& manifest) {
  for (const auto& [path, entry] : manifest.files) {
    const auto inside = std::filesystem::path("/bundle") / path;
    Require(inside.lexically_normal() == inside && path.find('\0') == path.npos &&
                inside.native().starts_with("/bundle/") && inside.has_filename(),
            "a file lies in the bundle: " + path);
  }
}

// Each channel has a mean and a deviation, and no product of a causal decoder's sizes leaves 64 bits.
void CheckLatents(const VaeDecoderSpec& vae) {
  for (size_t c = 0; c < static_cast<size_t>(vae.latent_channels); ++c) {
    Require(std::isfinite(vae.mean(c)) && std::isfinite(vae.std(c)) && vae.std(c) > 0,
            "a mean and a std of latents are finite, a std above 0");
    if (vae.latents_mean.empty() && vae.latents_std.empty()) break;  // all alike
  }
  if (vae.whole) {
    Require(!vae.causal && vae.whole->frames_per_latent >= 1, "a decoder makes chunks or wholes");
    for (const int scale : vae.whole->noise_scales) {
      Require(scale >= 1 && scale <= vae.scale_factor, "a noise is no larger than a frame");
    }
  }
  if (!vae.causal) return;
  Require(vae.causal->frames_per_latent >= 1 && !vae.causal->caches.empty(),
          "a causal decoder makes frames and keeps some");
  double values = 0;
  for (const CacheSpec& cache : vae.causal->caches) {
    Require(cache.channels >= 1 && cache.scale >= 1, "a cache holds something");
    values += 4.0 * kCacheFrames * cache.channels * 4096.0 * 4096.0 * cache.scale * cache.scale;
  }
  Require(values < 9e18, "caches of the largest frames can be counted");
}

void CheckNumbers(const Manifest& manifest) {
  const ComponentsSpec& components = manifest.components;
  if (components.encoder) {
    for (size_t i = 0; i < 3; ++i) {
      const float mean = components.encoder->mean[i], std = components.encoder->std[i];
      Require(std::isfinite(mean) && std::isfinite(std) && std > 0,
              "a mean and a std are finite, a std above 0");
    }
  }
  if (components.decoder) {
    const DecoderSpec& decoder = *components.decoder;
    Require(decoder.kv_heads >= 1 && decoder.heads % decoder.kv_heads == 0,
            "heads share keys evenly");
    Require(manifest.prompt && manifest.text_generation && manifest.tokenizers.decoder,
            "a decoder has its texts");
  }
  if (components.vae_decoder) {
    const double factor = components.vae_decoder->scaling_factor;
    Require(std::isfinite(factor) && factor > 0, "a scaling factor is above 0");
    CheckLatents(*components.vae_decoder);
  }
  Require(!components.unet || !components.transformer, "one network denoises");
}

// Time steps descend within the training's, and each step can be taken.
void CheckScheduler(const VideoGenerationSpec& spec) {
  Require(!spec.schedulers.empty() && spec.schedulers.front() == spec.scheduler.type,
          "the default sampler is the first");
  if (spec.scheduler.num_train_timesteps > 5000 || spec.steps > 1000)
    return;  // too slow for a fuzzer
  for (const std::string& type : spec.schedulers) {
    SchedulerSpec chosen = spec.scheduler;
    chosen.type = type;
    chosen.tokens = spec.pipeline == kLtxPipeline ? 640 : 0;
    const bool made = fuzz::Accepts({Code::Bundle, Code::InvalidArgument}, [&] {
      const auto scheduler = Scheduler::Make(chosen, spec.steps);
      Require(scheduler->timesteps().size() == static_cast<size_t>(spec.steps), "all the steps");
      double last = spec.scheduler.num_train_timesteps;
      std::vector<float> sample(2, 0.5f);
      const std::vector<float> prediction = {0.25f, -0.25f};
      const std::vector<float> noise = {1.0f, -1.0f};
      for (size_t i = 0; i < scheduler->timesteps().size(); ++i) {
        const double step = scheduler->timesteps()[i];
        // As diffusers shifts them in float32, those of flow matching begin a rounding above the last.
        Require(step >= 0 && step <= spec.scheduler.num_train_timesteps * 1.0001,
                "a time step is one of the training's");
        Require(step <= last, "time steps descend");
        last = step;
        scheduler->Step(static_cast<int>(i), prediction, noise, sample);
      }
    });
    static_cast<void>(made);
  }
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  return fuzz::ChangeJson(data, size, most, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Manifest manifest;
  if (!fuzz::Accepts({Code::Bundle}, [&] { manifest = Manifest::Parse(text); })) return 0;
  CheckPaths(manifest);
  CheckNumbers(manifest);
  ForEachComponent(manifest.components, [&](std::string_view, const auto& component) {
    CheckVariants(manifest, component.variants);
  });
  if (manifest.video_generation) CheckScheduler(*manifest.video_generation);
  return 0;
}
