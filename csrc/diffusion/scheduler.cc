#include "diffusion/scheduler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "diffusion/noise_schedule.h"

namespace g4v {
namespace {

enum class Prediction { Noise, Velocity, Sample };

Prediction PredictionOf(const SchedulerSpec& spec) {
  if (spec.prediction_type == "epsilon") return Prediction::Noise;
  if (spec.prediction_type == "v_prediction") return Prediction::Velocity;
  if (spec.prediction_type == "sample") return Prediction::Sample;
  throw Error(Code::Bundle, "the scheduler's prediction_type is \"" + spec.prediction_type +
                                "\" but must be \"epsilon\", \"v_prediction\" or \"sample\"");
}

// The clean image in x = alpha * clean + sigma * noise, given the model's prediction p for x.
double CleanImage(Prediction type, double alpha, double sigma, double x, double p) {
  if (type == Prediction::Sample) return p;
  return type == Prediction::Velocity ? alpha * x - sigma * p : (x - sigma * p) / alpha;
}

class Ddim : public Scheduler {
 public:
  Ddim(const SchedulerSpec& spec, int steps)
      : prediction_(PredictionOf(spec)),
        clip_(spec.clip_sample ? spec.clip_sample_range : std::numeric_limits<double>::infinity()),
        stride_(spec.num_train_timesteps / std::max(steps, 1)),
        alphas_(AlphasCumprod(spec)) {
    timesteps_ = MakeTimesteps(spec, steps, false);
    final_alpha_ = spec.set_alpha_to_one ? 1.0f : alphas_.front();
    if (prediction_ == Prediction::Noise && alphas_.back() <= 0.0f) {
      throw Error(Code::Bundle,
                  "the scheduler predicts epsilon on a schedule with zero terminal SNR, which "
                  "cannot be sampled; use v_prediction");
    }
  }

  void Step(int index, std::span<const float> prediction, std::span<float> sample) override {
    const int64_t timestep = timesteps_[static_cast<size_t>(index)];
    const int64_t next = timestep - stride_;
    const double alpha = alphas_[static_cast<size_t>(timestep)];
    const double alpha_next = next >= 0 ? alphas_[static_cast<size_t>(next)] : final_alpha_;
    const double a = std::sqrt(alpha);
    const double b = std::sqrt(1.0 - alpha);
    const double a_next = std::sqrt(alpha_next);
    const double b_next = std::sqrt(1.0 - alpha_next);
    for (size_t i = 0; i < sample.size(); ++i) {
      const double x = sample[i];
      const double p = prediction[i];
      const double clean = CleanImage(prediction_, a, b, x, p);
      sample[i] = static_cast<float>(a_next * std::clamp(clean, -clip_, clip_) +
                                     b_next * Noise(a, b, x, p, clean));
    }
  }

 private:
  double Noise(double a, double b, double x, double p, double clean) const {
    if (prediction_ == Prediction::Noise) return p;
    return prediction_ == Prediction::Velocity ? a * p + b * x : (x - a * clean) / b;
  }

  Prediction prediction_;
  double clip_;
  int64_t stride_;
  std::vector<float> alphas_;
  double final_alpha_ = 1.0;
};

// DPM-Solver++ (2M), midpoint, or of first order, which is DDIM in continuous time.
class DpmSolver : public Scheduler {
 public:
  DpmSolver(const SchedulerSpec& spec, int steps)
      : prediction_(PredictionOf(spec)), first_order_(spec.solver_order == 1) {
    std::vector<float> train_sigmas = AlphasCumprod(spec);
    // As diffusers: close to 0 without being 0, so that the first sigma is finite.
    if (spec.rescale_betas_zero_snr) train_sigmas.back() = 0x1p-24f;
    for (float& alpha : train_sigmas) alpha = std::sqrt((1.0f - alpha) / alpha);
    if (!std::isfinite(train_sigmas.back()) || !(train_sigmas.front() > 0.0f)) {
      throw Error(Code::Bundle,
                  "the scheduler's schedule begins without noise or ends in nothing but noise, "
                  "which dpmsolver++ cannot sample; export it with other betas");
    }
    timesteps_ = MakeTimesteps(spec, steps, true);
    if (spec.use_karras_sigmas) {
      // diffusers rounds the time steps of every schedule but this one.
      const bool round_down = spec.beta_schedule == "squaredcos_cap_v2";
      NoiseLevels levels = KarrasNoiseLevels(train_sigmas, steps, round_down);
      timesteps_ = std::move(levels.timesteps);
      sigmas_.assign(levels.sigmas.begin(), levels.sigmas.end());
    } else {
      for (const int64_t timestep : timesteps_) {
        sigmas_.push_back(train_sigmas[static_cast<size_t>(timestep)]);
      }
    }
    const bool to_zero = spec.final_sigmas_type == "zero";
    sigmas_.push_back(to_zero ? 0.0f : train_sigmas.front());
    euler_at_final_ =
        to_zero || spec.euler_at_final || (spec.lower_order_final && steps < kFewSteps);
  }

  void Step(int index, std::span<const float> prediction, std::span<float> sample) override {
    const size_t i = static_cast<size_t>(index);
    const Point now = At(sigmas_[i]);
    const Point next = At(sigmas_[i + 1]);
    // exp(-h) - 1 with h = lambda(next) - lambda(now); h is infinite where all noise goes.
    const double h = next.lambda - now.lambda;
    const double decay = std::expm1(-h);
    // Weight of the difference between this and the previous estimate of the clean image.
    double slope = 0.0;
    const bool last = i + 2 == sigmas_.size();
    if (index > 0 && !first_order_ && !(last && euler_at_final_)) {
      slope = 0.5 * h / (now.lambda - At(sigmas_[i - 1]).lambda);
    }
    const double keep = next.sigma / now.sigma;
    const double move = -next.alpha * decay;
    previous_.resize(sample.size());
    for (size_t j = 0; j < sample.size(); ++j) {
      const double x = sample[j];
      const double clean = CleanImage(prediction_, now.alpha, now.sigma, x, prediction[j]);
      const double target = clean + slope * (clean - previous_[j]);
      sample[j] = static_cast<float>(keep * x + move * target);
      previous_[j] = static_cast<float>(clean);
    }
  }

 private:
  static constexpr int kFewSteps = 15;  // below it, lower_order_final has an effect

  struct Point {
    double alpha;
    double sigma;
    double lambda;
  };

  static Point At(double sigma) {
    const double alpha = 1.0 / std::sqrt(sigma * sigma + 1.0);
    return {alpha, sigma * alpha, -std::log(sigma)};  // infinite for 0
  }

  Prediction prediction_;
  bool first_order_;
  bool euler_at_final_ = true;   // the last step is of first order
  std::vector<double> sigmas_;   // one for each step, and the final one
  std::vector<float> previous_;  // estimate of the clean image at the step before
};

}  // namespace

std::unique_ptr<Scheduler> Scheduler::Make(const SchedulerSpec& spec, int steps) {
  if (spec.type == "ddim") return std::make_unique<Ddim>(spec, steps);
  if (spec.type == "dpmsolver++") return std::make_unique<DpmSolver>(spec, steps);
  throw Error(Code::InvalidArgument,
              "scheduler is \"" + spec.type + "\" but must be \"ddim\" or \"dpmsolver++\"");
}

}  // namespace g4v
