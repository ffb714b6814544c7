#include "diffusion/scheduler.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"

namespace g4v {
namespace internal {
namespace {

// torch.linspace in float32, which counts from the nearer end.
std::vector<float> Linspace(double start, double end, int count) {
  std::vector<float> values(static_cast<size_t>(count), static_cast<float>(start));
  if (count == 1) return values;
  const float first = static_cast<float>(start);
  const float last = static_cast<float>(end);
  const float step = (last - first) / static_cast<float>(count - 1);
  for (int i = 0; i < count; ++i) {
    values[static_cast<size_t>(i)] = i < count / 2
                                         ? first + step * static_cast<float>(i)
                                         : last - step * static_cast<float>(count - 1 - i);
  }
  return values;
}

std::vector<float> CumulativeProduct(const std::vector<float>& betas) {
  std::vector<float> products;
  double product = 1.0;
  for (const float beta : betas) {
    product *= 1.0f - beta;
    products.push_back(static_cast<float>(product));
  }
  return products;
}

// Zero terminal SNR (Lin et al. 2023, algorithm 1).
void RescaleToZeroSnr(std::vector<float>& betas) {
  std::vector<float> roots = CumulativeProduct(betas);
  for (float& root : roots) root = std::sqrt(root);
  const float first = roots.front();
  const float last = roots.back();
  for (float& root : roots) root = (root - last) * (first / (first - last));
  float before = 1.0f;
  for (size_t i = 0; i < roots.size(); ++i) {
    const float product = roots[i] * roots[i];
    betas[i] = 1.0f - product / before;
    before = product;
  }
}

}  // namespace

std::vector<float> AlphasCumprod(const SchedulerSpec& spec) {
  const int count = spec.num_train_timesteps;
  std::vector<float> betas;
  if (spec.beta_schedule == "scaled_linear") {
    betas = Linspace(std::sqrt(spec.beta_start), std::sqrt(spec.beta_end), count);
    for (float& beta : betas) beta *= beta;
  } else if (spec.beta_schedule == "linear") {
    betas = Linspace(spec.beta_start, spec.beta_end, count);
  } else {
    throw Error(Code::Bundle, "the scheduler's beta_schedule is \"" + spec.beta_schedule +
                                  "\" but must be \"scaled_linear\" or \"linear\"");
  }
  if (spec.rescale_betas_zero_snr) RescaleToZeroSnr(betas);
  return CumulativeProduct(betas);
}

}  // namespace internal

namespace {

// Whether the model predicts the velocity; else it predicts the noise.
bool PredictsVelocity(const SchedulerSpec& spec) {
  if (spec.prediction_type == "v_prediction") return true;
  if (spec.prediction_type == "epsilon") return false;
  throw Error(Code::Bundle, "the scheduler's prediction_type is \"" + spec.prediction_type +
                                "\" but must be \"epsilon\" or \"v_prediction\"");
}

// Time steps of `steps` steps. The multistep solver counts one step more, the clean image, and does
// not visit it (`with_end`).
std::vector<int64_t> MakeTimesteps(const SchedulerSpec& spec, int steps, bool with_end) {
  const int train = spec.num_train_timesteps;
  const int count = steps + (with_end ? 1 : 0);
  const int most = with_end ? train - 1 : train;
  if (steps < 1 || steps > most) {
    throw Error(Code::InvalidArgument,
                "steps is " + std::to_string(steps) + " but must be 1 to " + std::to_string(most));
  }
  std::vector<int64_t> timesteps;
  if (spec.timestep_spacing == "linspace") {
    const double gap = count > 1 ? static_cast<double>(train - 1) / (count - 1) : 0.0;
    for (int i = count - 1; i >= count - steps; --i) {
      const bool last = count > 1 && i == count - 1;
      timesteps.push_back(std::llrint(last ? train - 1.0 : i * gap));
    }
  } else if (spec.timestep_spacing == "leading") {
    for (int i = count - 1; i >= count - steps; --i) {
      timesteps.push_back(int64_t{i} * (train / count) + spec.steps_offset);
    }
  } else if (spec.timestep_spacing == "trailing") {
    const double gap = static_cast<double>(train) / steps;
    for (int i = 0; i < steps; ++i) timesteps.push_back(std::llrint(train - i * gap) - 1);
  } else {
    throw Error(Code::Bundle, "the scheduler's timestep_spacing is \"" + spec.timestep_spacing +
                                  "\" but must be \"leading\", \"trailing\" or \"linspace\"");
  }
  for (const int64_t timestep : timesteps) {
    if (timestep < 0 || timestep >= train) {
      throw Error(Code::InvalidArgument, "steps is " + std::to_string(steps) +
                                             ", which leads to time step " +
                                             std::to_string(timestep) + " of a schedule that has " +
                                             std::to_string(train) + "; use fewer steps");
    }
  }
  return timesteps;
}

class Ddim : public Scheduler {
 public:
  Ddim(const SchedulerSpec& spec, int steps)
      : velocity_(PredictsVelocity(spec)),
        clip_(spec.clip_sample),
        stride_(spec.num_train_timesteps / std::max(steps, 1)),
        alphas_(internal::AlphasCumprod(spec)) {
    timesteps_ = MakeTimesteps(spec, steps, false);
    final_alpha_ = spec.set_alpha_to_one ? 1.0f : alphas_.front();
    if (!velocity_ && alphas_.back() <= 0.0f) {
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
      double clean = velocity_ ? a * x - b * p : (x - b * p) / a;
      const double noise = velocity_ ? a * p + b * x : p;
      if (clip_) clean = std::clamp(clean, -1.0, 1.0);
      sample[i] = static_cast<float>(a_next * clean + b_next * noise);
    }
  }

 private:
  bool velocity_;
  bool clip_;
  int64_t stride_;
  std::vector<float> alphas_;
  double final_alpha_ = 1.0;
};

// DPM-Solver++ (2M), midpoint, first order at both ends, final sigma 0.
class DpmSolver : public Scheduler {
 public:
  DpmSolver(const SchedulerSpec& spec, int steps) : velocity_(PredictsVelocity(spec)) {
    timesteps_ = MakeTimesteps(spec, steps, true);
    std::vector<float> alphas = internal::AlphasCumprod(spec);
    // As diffusers: close to 0 without being 0, so that the first sigma is finite.
    if (spec.rescale_betas_zero_snr) alphas.back() = 0x1p-24f;
    for (const int64_t timestep : timesteps_) {
      const float alpha = alphas[static_cast<size_t>(timestep)];
      sigmas_.push_back(std::sqrt((1.0f - alpha) / alpha));
    }
  }

  void Step(int index, std::span<const float> prediction, std::span<float> sample) override {
    const size_t i = static_cast<size_t>(index);
    const bool last = i + 1 == sigmas_.size();
    const Point now = At(sigmas_[i]);
    const Point next = last ? Point{1.0, 0.0, 0.0} : At(sigmas_[i + 1]);
    // exp(-h) - 1 with h = lambda(next) - lambda(now); h is infinite at the end.
    const double h = next.lambda - now.lambda;
    const double decay = last ? -1.0 : std::expm1(-h);
    // Weight of the difference between this and the previous estimate of the clean image.
    double slope = 0.0;
    if (index > 0 && !last) slope = 0.5 * h / (now.lambda - At(sigmas_[i - 1]).lambda);
    const double keep = next.sigma / now.sigma;
    const double move = -next.alpha * decay;
    previous_.resize(sample.size());
    for (size_t j = 0; j < sample.size(); ++j) {
      const double x = sample[j];
      const double p = prediction[j];
      const double clean =
          velocity_ ? now.alpha * x - now.sigma * p : (x - now.sigma * p) / now.alpha;
      const double target = clean + slope * (clean - previous_[j]);
      sample[j] = static_cast<float>(keep * x + move * target);
      previous_[j] = static_cast<float>(clean);
    }
  }

 private:
  struct Point {
    double alpha;
    double sigma;
    double lambda;
  };

  static Point At(double sigma) {
    const double alpha = 1.0 / std::sqrt(sigma * sigma + 1.0);
    return {alpha, sigma * alpha, -std::log(sigma)};
  }

  bool velocity_;
  std::vector<double> sigmas_;   // one for each step
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
