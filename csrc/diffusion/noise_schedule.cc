#include "diffusion/noise_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "base/error.h"

namespace g4v {
namespace {

// torch.linspace in float32, which counts from the nearer end.
std::vector<float> LinspaceFloat(double start, double end, int count) {
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

// The cosine schedule of Nichol and Dhariwal (2021), betas of at most 0.999.
std::vector<float> CosineBetas(int count) {
  const auto alpha_bar = [](double time) {
    const double root = std::cos((time + 0.008) / 1.008 * std::numbers::pi / 2);
    return root * root;
  };
  std::vector<float> betas;
  for (int i = 0; i < count; ++i) {
    const double before = alpha_bar(static_cast<double>(i) / count);
    const double after = alpha_bar(static_cast<double>(i + 1) / count);
    betas.push_back(static_cast<float>(std::min(1 - after / before, 0.999)));
  }
  return betas;
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
    betas = LinspaceFloat(std::sqrt(spec.beta_start), std::sqrt(spec.beta_end), count);
    for (float& beta : betas) beta *= beta;
  } else if (spec.beta_schedule == "linear") {
    betas = LinspaceFloat(spec.beta_start, spec.beta_end, count);
  } else if (spec.beta_schedule == "squaredcos_cap_v2") {
    betas = CosineBetas(count);
  } else {
    throw Error(Code::Bundle,
                "the scheduler's beta_schedule is \"" + spec.beta_schedule +
                    "\" but must be \"scaled_linear\", \"linear\" or \"squaredcos_cap_v2\"");
  }
  if (spec.rescale_betas_zero_snr) RescaleToZeroSnr(betas);
  return CumulativeProduct(betas);
}

std::vector<float> TrainSigmas(const SchedulerSpec& spec) {
  std::vector<float> sigmas = AlphasCumprod(spec);
  // As diffusers: close to 0 without being 0, so that the first sigma is finite.
  if (spec.rescale_betas_zero_snr) sigmas.back() = 0x1p-24f;
  for (float& alpha : sigmas) alpha = std::sqrt((1.0f - alpha) / alpha);
  if (!std::isfinite(sigmas.back()) || !(sigmas.front() > 0.0f)) {
    throw Error(Code::Bundle,
                "the scheduler's schedule begins without noise or ends in nothing but noise, "
                "which " +
                    spec.type + " cannot sample; export it with other betas");
  }
  return sigmas;
}

void CheckSteps(int steps, int most) {
  if (steps < 1 || steps > most) {
    throw Error(Code::InvalidArgument,
                "steps is " + std::to_string(steps) + " but must be 1 to " + std::to_string(most));
  }
}

std::vector<double> MakeTimesteps(const SchedulerSpec& spec, int steps, const TimestepRule& rule) {
  const int train = spec.num_train_timesteps;
  const int count = steps + (rule.with_end ? 1 : 0);
  CheckSteps(steps, rule.with_end ? train - 1 : train);
  const std::string spacing(spec.timestep_spacing == "default" ? rule.spacing
                                                               : spec.timestep_spacing);
  std::vector<double> timesteps;
  if (spacing == "linspace") {
    const std::vector<double> all = Linspace(0.0, train - 1.0, count);
    for (int i = count - 1; i >= count - steps; --i) {
      const double time = all[static_cast<size_t>(i)];
      timesteps.push_back(rule.whole ? std::nearbyint(time) : double{static_cast<float>(time)});
    }
  } else if (spacing == "leading") {
    for (int i = count - 1; i >= count - steps; --i) {
      timesteps.push_back(static_cast<double>(i) * (train / count) + spec.steps_offset);
    }
  } else if (spacing == "trailing") {
    const double gap = static_cast<double>(train) / steps;
    for (int i = 0; i < steps; ++i) timesteps.push_back(std::nearbyint(train - i * gap) - 1);
  } else {
    throw Error(Code::Bundle,
                "the scheduler's timestep_spacing is \"" + spacing +
                    "\" but must be \"leading\", \"trailing\", \"linspace\" or \"default\"");
  }
  for (const double timestep : timesteps) {
    if (timestep < 0 || timestep >= train) {
      throw Error(Code::InvalidArgument,
                  "steps is " + std::to_string(steps) + ", which leads to time step " +
                      std::to_string(static_cast<int64_t>(timestep)) + " of a schedule that has " +
                      std::to_string(train) + "; use fewer steps");
    }
  }
  return timesteps;
}

std::vector<double> Linspace(double start, double stop, int count) {
  std::vector<double> values(static_cast<size_t>(count), start);
  const double step = count > 1 ? (stop - start) / (count - 1) : 0.0;
  for (int i = 1; i < count; ++i) values[static_cast<size_t>(i)] = i * step + start;
  if (count > 1) values.back() = stop;
  return values;
}

double Interpolate(const std::vector<float>& sigmas, double timestep) {
  const auto low = static_cast<size_t>(timestep);
  const double at = sigmas[low];
  if (low + 1 >= sigmas.size()) return at;
  return (sigmas[low + 1] - at) * (timestep - static_cast<double>(low)) + at;
}

std::vector<double> NoiseLevels(const SchedulerSpec& spec, double most, double least, int count) {
  if (!spec.use_karras_sigmas) {
    std::vector<double> levels = Linspace(std::log(most), std::log(least), count);
    for (double& level : levels) level = std::exp(level);
    return levels;
  }
  constexpr double kRho = 7.0;
  const double high = std::pow(most, 1 / kRho);
  const double low = std::pow(least, 1 / kRho);
  std::vector<double> levels = Linspace(0.0, 1.0, count);
  for (double& level : levels) level = std::pow(high + level * (low - high), kRho);
  return levels;
}

std::vector<float> LogSigmas(const std::vector<float>& train_sigmas) {
  std::vector<float> log_sigmas;
  for (const float sigma : train_sigmas) {
    log_sigmas.push_back(static_cast<float>(std::log(static_cast<double>(sigma))));
  }
  return log_sigmas;
}

double TimeOf(double sigma, const std::vector<float>& log_sigmas) {
  if (log_sigmas.size() < 2) return 0.0;
  const double log_sigma = std::log(std::max(sigma, 1e-10));
  const auto above = std::upper_bound(log_sigmas.begin(), log_sigmas.end(), log_sigma,
                                      [](double value, float one) { return value < one; });
  const auto last = static_cast<ptrdiff_t>(log_sigmas.size()) - 2;
  const ptrdiff_t low = std::clamp<ptrdiff_t>(above - log_sigmas.begin() - 1, 0, last);
  const float a = log_sigmas[static_cast<size_t>(low)];
  const float b = log_sigmas[static_cast<size_t>(low) + 1];
  const double weight = std::clamp((a - log_sigma) / (a - b), 0.0, 1.0);
  return (1 - weight) * static_cast<double>(low) + weight * static_cast<double>(low + 1);
}

double ShiftSigma(double shift, double sigma) { return shift * sigma / (1 + (shift - 1) * sigma); }

double ShiftOf(const SchedulerSpec& spec) {
  if (!spec.use_dynamic_shifting) return spec.shift;
  const double slope =
      (spec.max_shift - spec.base_shift) / (spec.max_image_seq_len - spec.base_image_seq_len);
  const double mu =
      spec.base_shift + slope * (static_cast<double>(spec.tokens) - spec.base_image_seq_len);
  const double shift = spec.time_shift_type == "linear" ? mu : std::exp(mu);
  constexpr double kMostShift = 1e6;
  if (spec.tokens > 0 && shift >= 1 / kMostShift && shift <= kMostShift) return shift;
  throw Error(Code::InvalidArgument, "a video of " + std::to_string(spec.tokens) +
                                         " tokens has no noise schedule by the scheduler's " +
                                         spec.time_shift_type +
                                         " use_dynamic_shifting; change frames, width or height");
}

std::vector<double> PipelineSigmas(int steps) { return Linspace(1.0, 1.0 / steps, steps); }

std::vector<double> LinearQuadraticSigmas(int steps) {
  constexpr double kThreshold = 0.025;  // noise that the even half takes away
  const int even = steps / 2;
  const int rest = steps - even;
  std::vector<double> sigmas(static_cast<size_t>(steps), 1.0);
  if (even == 0) return sigmas;
  // Of i steps beyond the even ones: threshold + slope * i + bend * i^2, which is 1 at `rest`.
  const double slope = kThreshold / even;
  const double bend = (1 - kThreshold - slope * rest) / (static_cast<double>(rest) * rest);
  for (int i = 0; i < steps; ++i) {
    const double beyond = std::max(i - even, 0);
    sigmas[static_cast<size_t>(i)] = 1 - (slope * i + bend * beyond * beyond);
  }
  return sigmas;
}

void StretchToTerminal(const SchedulerSpec& spec, std::vector<double>& sigmas) {
  if (spec.shift_terminal == 0.0) return;
  if (sigmas.size() < 2) {
    throw Error(Code::InvalidArgument,
                "steps is 1, which the scheduler's shift_terminal does not allow; use more steps");
  }
  const double scale = (1 - sigmas.back()) / (1 - spec.shift_terminal);
  for (double& sigma : sigmas) sigma = 1 - (1 - sigma) / scale;
}

}  // namespace g4v
