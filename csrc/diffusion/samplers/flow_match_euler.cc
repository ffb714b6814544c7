// Euler's method for flow matching, x = (1 - sigma) * clean + sigma * noise, as diffusers'
// FlowMatchEulerDiscreteScheduler.
#include <cmath>

#include "diffusion/noise_schedule.h"
#include "diffusion/samplers/samplers.h"

namespace g4v {
namespace {

class FlowMatchEuler : public Scheduler {
 public:
  FlowMatchEuler(const SchedulerSpec& spec, int steps) : stochastic_(spec.stochastic_sampling) {
    PredictionOf(spec, {"flow_prediction"});
    CheckSteps(steps, spec.num_train_timesteps);
    const auto train = static_cast<float>(spec.num_train_timesteps);
    if (spec.use_linear_quadratic_sigmas) {  // those of the time steps, which the pipeline gives
      for (const double sigma : LinearQuadraticSigmas(steps)) {
        const float timestep = static_cast<float>(sigma) * train;
        timesteps_.push_back(timestep);
        sigmas_.push_back(timestep / train);
      }
      sigmas_.push_back(0.0f);
      return;
    }
    std::vector<double> sigmas = spec.tokens > 0 ? PipelineSigmas(steps) : OwnSigmas(spec, steps);
    const double shift = ShiftOf(spec);
    for (double& sigma : sigmas) sigma = ShiftSigma(shift, sigma);
    StretchToTerminal(spec, sigmas);
    if (spec.use_karras_sigmas || spec.use_exponential_sigmas) {
      sigmas = NoiseLevels(spec, sigmas.front(), sigmas.back(), steps);
    }
    sigmas_.assign(sigmas.begin(), sigmas.end());
    for (const float sigma : sigmas_) timesteps_.push_back(sigma * train);
    sigmas_.push_back(0.0f);
  }

  Mix NoiseAt(int index) const override {
    const double sigma = sigmas_[static_cast<size_t>(index)];
    return {1.0 - sigma, sigma};
  }

  bool AddsNoise(int index) const override {
    return stochastic_ && sigmas_[static_cast<size_t>(index) + 1] > 0;
  }

  void Step(int index, std::span<const float> prediction, std::span<const float> noise,
            std::span<float> sample) override {
    const double from = sigmas_[static_cast<size_t>(index)];
    const double to = sigmas_[static_cast<size_t>(index) + 1];
    const bool adds = AddsNoise(index);
    for (size_t i = 0; i < sample.size(); ++i) {
      const double x = sample[i];
      double next = x + (to - from) * prediction[i];
      if (stochastic_) {
        next = (1.0 - to) * (x - from * prediction[i]) + (adds ? to * noise[i] : 0.0);
      }
      sample[i] = static_cast<float>(next);
    }
  }

 private:
  // The ends are shifted once as the class is made, in float32, and again with all others.
  static std::vector<double> OwnSigmas(const SchedulerSpec& spec, int steps) {
    const auto train = static_cast<float>(spec.num_train_timesteps);
    const auto shift = static_cast<float>(spec.shift);
    const auto end = [&](float time) {
      const float sigma = time / train;
      return shift * sigma / (1.0f + (shift - 1.0f) * sigma);
    };
    std::vector<double> sigmas = Linspace(double{end(train)} * spec.num_train_timesteps,
                                          double{end(1.0f)} * spec.num_train_timesteps, steps);
    for (double& sigma : sigmas) sigma /= spec.num_train_timesteps;
    return sigmas;
  }

  bool stochastic_;
  std::vector<float> sigmas_;  // one for each step, and 0
};

}  // namespace

std::unique_ptr<Scheduler> MakeFlowMatchEuler(const SchedulerSpec& spec, int steps) {
  return std::make_unique<FlowMatchEuler>(spec, steps);
}

}  // namespace g4v
