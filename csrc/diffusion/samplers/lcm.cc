// The sampler of latent consistency models (Luo et al., 2023): each step predicts the clean image
// and adds new noise to it, as diffusers' LCMScheduler.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "diffusion/noise_schedule.h"
#include "diffusion/samplers/samplers.h"

namespace g4v {
namespace {

class Lcm : public Scheduler {
 public:
  Lcm(const SchedulerSpec& spec, int steps)
      : prediction_(PredictionOf(spec, {"epsilon", "v_prediction", "sample"})),
        clip_(spec.clip_sample ? spec.clip_sample_range : std::numeric_limits<double>::infinity()),
        timestep_scaling_(spec.timestep_scaling),
        alphas_(AlphasCumprod(spec)) {
    const int original = spec.original_inference_steps;
    if (original > spec.num_train_timesteps) {
      throw Error(Code::Bundle, "the scheduler's original_inference_steps is " +
                                    std::to_string(original) + " but must be at most " +
                                    std::to_string(spec.num_train_timesteps));
    }
    if (prediction_ == Prediction::Epsilon && alphas_.back() <= 0.0f) {
      throw Error(Code::Bundle,
                  "the scheduler predicts epsilon on a schedule with zero terminal SNR, which "
                  "cannot be sampled; use v_prediction");
    }
    CheckSteps(steps, original);
    // Out of the time steps that the model was distilled on.
    const int stride = spec.num_train_timesteps / original;
    const double gap = static_cast<double>(original) / steps;
    for (int i = 0; i < steps; ++i) {
      const int place = original - static_cast<int>(i * gap);
      timesteps_.push_back(place * stride - 1);
    }
  }

  Mix NoiseAt(int index) const override {
    return MixOf(At(timesteps_[static_cast<size_t>(index)]));
  }

  bool AddsNoise(int index) const override {
    return static_cast<size_t>(index) + 1 < timesteps_.size();
  }

  void Step(int index, std::span<const float> prediction, std::span<const float> noise,
            std::span<float> sample) override {
    constexpr double kData = 0.5;  // standard deviation of the data
    const auto i = static_cast<size_t>(index);
    const NoisePoint now = At(timesteps_[i]);
    const bool adds = AddsNoise(index);
    const NoisePoint next = adds ? At(timesteps_[i + 1]) : NoisePoint{1.0, 0.0, 0.0};
    const double time = timesteps_[i] * timestep_scaling_;
    const double skip = kData * kData / (time * time + kData * kData);
    const double out = time / std::sqrt(time * time + kData * kData);
    for (size_t j = 0; j < sample.size(); ++j) {
      const double x = sample[j];
      const double clean = CleanImage(prediction_, now, x, prediction[j]);
      const double denoised = out * std::clamp(clean, -clip_, clip_) + skip * x;
      sample[j] = static_cast<float>(next.alpha * denoised + (adds ? next.sigma * noise[j] : 0.0));
    }
  }

 private:
  NoisePoint At(double timestep) const {
    const double alpha = alphas_[static_cast<size_t>(timestep)];
    return {std::sqrt(alpha), std::sqrt(1.0 - alpha), 0.0};
  }

  Prediction prediction_;
  double clip_;
  double timestep_scaling_;
  std::vector<float> alphas_;
};

}  // namespace

std::unique_ptr<Scheduler> MakeLcm(const SchedulerSpec& spec, int steps) {
  return std::make_unique<Lcm>(spec, steps);
}

}  // namespace g4v
