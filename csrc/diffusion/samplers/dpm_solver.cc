// DPM-Solver++ (Lu et al., 2022) of order 1 to 3, multistep, and its stochastic form of order 1 and
// 2, as diffusers' DPMSolverMultistepScheduler with algorithm_type "dpmsolver++" and "sde-dpmsolver++".
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "diffusion/noise_schedule.h"
#include "diffusion/samplers/samplers.h"

namespace g4v {
namespace {

class DpmSolver : public Scheduler {
 public:
  DpmSolver(const SchedulerSpec& spec, int steps)
      : prediction_(PredictionOf(spec, {"epsilon", "v_prediction", "sample"})),
        stochastic_(spec.type == "sde-dpmsolver++"),
        heun_(spec.solver_type == "heun"),
        order_(spec.solver_order) {
    if (stochastic_ && order_ > 2) {  // by diffusers' formula for it samples diverge
      throw Error(Code::Bundle,
                  "the scheduler's solver_order is 3 but sde-dpmsolver++ takes 1 or 2; choose "
                  "another sampler");
    }
    const std::vector<float> train_sigmas = TrainSigmas(spec);
    timesteps_ = MakeTimesteps(spec, steps, {.spacing = "linspace", .with_end = true});
    if (spec.use_karras_sigmas || spec.use_exponential_sigmas) {
      const std::vector<float> log_sigmas = LogSigmas(train_sigmas);
      // diffusers rounds the time steps of Karras' levels, but of this schedule, and cuts all others.
      const bool rounds = spec.use_karras_sigmas && spec.beta_schedule != "squaredcos_cap_v2";
      timesteps_.clear();
      for (const double sigma :
           NoiseLevels(spec, train_sigmas.back(), train_sigmas.front(), steps)) {
        const double time = TimeOf(sigma, log_sigmas);
        timesteps_.push_back(rounds ? std::nearbyint(time) : std::floor(time));
        sigmas_.push_back(static_cast<float>(sigma));
      }
    } else {
      for (const double timestep : timesteps_) {
        sigmas_.push_back(train_sigmas[static_cast<size_t>(timestep)]);
      }
    }
    const bool to_zero = spec.final_sigmas_type == "zero";
    sigmas_.push_back(to_zero ? 0.0f : train_sigmas.front());
    few_ = spec.lower_order_final && steps < kFewSteps;
    euler_at_final_ = to_zero || spec.euler_at_final || few_;
  }

  Mix NoiseAt(int index) const override {
    return MixOf(VariancePreserving(sigmas_[static_cast<size_t>(index)]));
  }

  bool AddsNoise(int /*index*/) const override { return stochastic_; }

  void Step(int index, std::span<const float> prediction, std::span<const float> noise,
            std::span<float> sample) override {
    const auto i = static_cast<size_t>(index);
    const NoisePoint now = VariancePreserving(sigmas_[i]);
    const Weights weights = WeightsOf(index, now, VariancePreserving(sigmas_[i + 1]));
    before_.resize(sample.size());
    before_that_.resize(order_ > 2 ? sample.size() : 0);
    for (size_t j = 0; j < sample.size(); ++j) {
      const double x = sample[j];
      const double clean = CleanImage(prediction_, now, x, prediction[j]);
      double target = clean + weights.slope * (clean - before_[j]);
      if (order_ > 2) {
        target += weights.curve * (before_[j] - before_that_[j]);
        before_that_[j] = before_[j];
      }
      double next = weights.keep * x + weights.move * target;
      if (stochastic_) next += weights.noise * noise[j];
      sample[j] = static_cast<float>(next);
      before_[j] = static_cast<float>(clean);
    }
  }

 private:
  static constexpr int kFewSteps = 15;  // below it, lower_order_final has an effect

  // With estimates c0, c1 and c2 of the clean image, of this step and the ones before, the next
  // sample is keep * x + move * (c0 + slope * (c0 - c1) + curve * (c1 - c2)) + noise * n.
  struct Weights {
    double keep;
    double move;
    double slope;
    double curve;
    double noise;
  };

  int OrderOf(int index) const {
    const int last = static_cast<int>(sigmas_.size()) - 2;
    if (index == last && euler_at_final_) return 1;
    return std::min({order_, index - first_ + 1, index == last - 1 && few_ ? 2 : 3});
  }

  // h, the step in lambda, is infinite where all noise goes; the order is then 1.
  Weights WeightsOf(int index, const NoisePoint& now, const NoisePoint& next) const {
    const auto i = static_cast<size_t>(index);
    const double h = next.lambda - now.lambda;
    // exp(-h) - 1, of the noise that is added too exp(-2h) - 1.
    const double span = stochastic_ ? 2 * h : h;
    const double decay = std::expm1(-span);
    Weights weights{next.sigma / now.sigma, -next.alpha * decay, 0.0, 0.0, 0.0};
    if (stochastic_) {
      weights.keep *= std::exp(-h);
      weights.noise = next.sigma * std::sqrt(-decay);
    }
    const int order = OrderOf(index);
    if (order == 1 || !(h > 0)) return weights;
    const double before = now.lambda - VariancePreserving(sigmas_[i - 1]).lambda;
    if (order == 2 && !heun_) {
      weights.slope = 0.5 * h / before;
      return weights;
    }
    // phi_2 and phi_3 of the exponential integrator, over phi_1.
    const double first = next.alpha * (decay / span + 1) / weights.move;
    if (order == 2) {
      weights.slope = first * h / before;
      return weights;
    }
    const double r0 = before / h;
    const double r1 =
        (VariancePreserving(sigmas_[i - 1]).lambda - VariancePreserving(sigmas_[i - 2]).lambda) / h;
    const double second = -next.alpha * ((decay + span) / (span * span) - 0.5) / weights.move;
    const double both = (first * r0 + second) / (r0 + r1);
    weights.slope = (first + both) / r0;
    weights.curve = -both / r1;
    return weights;
  }

  Prediction prediction_;
  bool stochastic_;
  bool heun_;
  int order_;
  bool few_ = false;
  bool euler_at_final_ = true;      // the last step is of first order
  std::vector<double> sigmas_;      // one for each step, and the final one
  std::vector<float> before_;       // estimate of the clean image at the step before
  std::vector<float> before_that_;  // and at the one before that, where the order is 3
};

}  // namespace

std::unique_ptr<Scheduler> MakeDpmSolver(const SchedulerSpec& spec, int steps) {
  return std::make_unique<DpmSolver>(spec, steps);
}

}  // namespace g4v
