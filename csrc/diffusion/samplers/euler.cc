// Euler's method in the noise level, and its ancestral form, which takes more noise away than a step
// asks for and adds new one (Karras et al., 2022; k-diffusion), as diffusers' EulerDiscreteScheduler
// and EulerAncestralDiscreteScheduler. Samples are clean + sigma * noise: they are not of unit
// variance, and the model reads them scaled to it.
#include <algorithm>
#include <cmath>

#include "diffusion/noise_schedule.h"
#include "diffusion/samplers/samplers.h"

namespace g4v {
namespace {

class Euler : public Scheduler {
 public:
  Euler(const SchedulerSpec& spec, int steps)
      : ancestral_(spec.type == "euler_ancestral"), prediction_(TypeOf(spec)) {
    const std::vector<float> train_sigmas = TrainSigmas(spec);
    timesteps_ = MakeTimesteps(spec, steps, {.spacing = "linspace", .whole = false});
    std::vector<double> sigmas;
    for (const double timestep : timesteps_) sigmas.push_back(Interpolate(train_sigmas, timestep));
    if (!ancestral_ && (spec.use_karras_sigmas || spec.use_exponential_sigmas)) {
      const std::vector<float> log_sigmas = LogSigmas(train_sigmas);
      sigmas = NoiseLevels(spec, sigmas.front(), sigmas.back(), steps);
      for (size_t i = 0; i < sigmas.size(); ++i) {
        timesteps_[i] = static_cast<float>(TimeOf(sigmas[i], log_sigmas));
      }
    }
    sigmas_.assign(sigmas.begin(), sigmas.end());
    const bool to_zero = ancestral_ || spec.final_sigmas_type == "zero";
    sigmas_.push_back(to_zero ? 0.0f : train_sigmas.front());
    const double most = *std::max_element(sigmas_.begin(), sigmas_.end());
    // Of "leading" the clean image that noise is added to is not left out.
    const bool with_image = spec.timestep_spacing == "leading";
    init_noise_sigma_ = with_image ? std::sqrt(most * most + 1.0) : most;
  }

  Mix NoiseAt(int index) const override { return {1.0, sigmas_[static_cast<size_t>(index)]}; }

  double init_noise_sigma() const override { return init_noise_sigma_; }

  double InputScale(int index) const override {
    const double sigma = sigmas_[static_cast<size_t>(index)];
    return 1.0 / std::sqrt(sigma * sigma + 1.0);
  }

  bool AddsNoise(int index) const override {
    return ancestral_ && sigmas_[static_cast<size_t>(index) + 1] > 0;
  }

  void Step(int index, std::span<const float> prediction, std::span<const float> noise,
            std::span<float> sample) override {
    const double from = sigmas_[static_cast<size_t>(index)];
    const double to = sigmas_[static_cast<size_t>(index) + 1];
    const bool adds = AddsNoise(index);
    const double up =
        adds ? std::sqrt(std::max(0.0, to * to * (from * from - to * to) / (from * from))) : 0.0;
    const double down = std::sqrt(to * to - up * up);
    const double scale = InputScale(index);
    for (size_t i = 0; i < sample.size(); ++i) {
      const double x = sample[i];
      const double slope = Slope(from, scale, x, prediction[i]);
      sample[i] = static_cast<float>(x + slope * (down - from) + (adds ? up * noise[i] : 0.0));
    }
  }

 private:
  Prediction TypeOf(const SchedulerSpec& spec) const {
    // diffusers' ancestral class lacks "sample".
    if (ancestral_) return PredictionOf(spec, {"epsilon", "v_prediction"});
    return PredictionOf(spec, {"epsilon", "v_prediction", "sample"});
  }

  // (x - clean) / sigma: the noise in x = clean + sigma * noise.
  double Slope(double sigma, double scale, double x, double p) const {
    if (prediction_ == Prediction::Epsilon) return p;
    const double clean =
        prediction_ == Prediction::Sample ? p : scale * scale * x - sigma * scale * p;
    return (x - clean) / sigma;
  }

  bool ancestral_;
  Prediction prediction_;
  std::vector<float> sigmas_;  // one for each step, and the final one
  double init_noise_sigma_ = 1.0;
};

}  // namespace

std::unique_ptr<Scheduler> MakeEuler(const SchedulerSpec& spec, int steps) {
  return std::make_unique<Euler>(spec, steps);
}

}  // namespace g4v
