#include "diffusion/noise_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "base/error.h"

namespace g4v {
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

std::string SpacingOf(const SchedulerSpec& spec, bool with_end) {
  if (spec.timestep_spacing != "default") return spec.timestep_spacing;
  return with_end ? "linspace" : "leading";
}

// The place of `sigma` among the training time steps, by linear interpolation of logarithms.
double TimeOf(double sigma, const std::vector<float>& log_sigmas) {
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

}  // namespace

std::vector<float> AlphasCumprod(const SchedulerSpec& spec) {
  const int count = spec.num_train_timesteps;
  std::vector<float> betas;
  if (spec.beta_schedule == "scaled_linear") {
    betas = Linspace(std::sqrt(spec.beta_start), std::sqrt(spec.beta_end), count);
    for (float& beta : betas) beta *= beta;
  } else if (spec.beta_schedule == "linear") {
    betas = Linspace(spec.beta_start, spec.beta_end, count);
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

std::vector<int64_t> MakeTimesteps(const SchedulerSpec& spec, int steps, bool with_end) {
  const int train = spec.num_train_timesteps;
  const int count = steps + (with_end ? 1 : 0);
  const int most = with_end ? train - 1 : train;
  if (steps < 1 || steps > most) {
    throw Error(Code::InvalidArgument,
                "steps is " + std::to_string(steps) + " but must be 1 to " + std::to_string(most));
  }
  const std::string spacing = SpacingOf(spec, with_end);
  std::vector<int64_t> timesteps;
  if (spacing == "linspace") {
    const double gap = count > 1 ? static_cast<double>(train - 1) / (count - 1) : 0.0;
    for (int i = count - 1; i >= count - steps; --i) {
      const bool last = count > 1 && i == count - 1;
      timesteps.push_back(std::llrint(last ? train - 1.0 : i * gap));
    }
  } else if (spacing == "leading") {
    for (int i = count - 1; i >= count - steps; --i) {
      timesteps.push_back(int64_t{i} * (train / count) + spec.steps_offset);
    }
  } else if (spacing == "trailing") {
    const double gap = static_cast<double>(train) / steps;
    for (int i = 0; i < steps; ++i) timesteps.push_back(std::llrint(train - i * gap) - 1);
  } else {
    throw Error(Code::Bundle,
                "the scheduler's timestep_spacing is \"" + spacing +
                    "\" but must be \"leading\", \"trailing\", \"linspace\" or \"default\"");
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

NoiseLevels KarrasNoiseLevels(const std::vector<float>& train_sigmas, int count, bool round_down) {
  constexpr double kRho = 7.0;
  std::vector<float> log_sigmas;
  for (const float sigma : train_sigmas) {
    log_sigmas.push_back(static_cast<float>(std::log(static_cast<double>(sigma))));
  }
  const double most = std::pow(static_cast<double>(train_sigmas.back()), 1 / kRho);
  const double least = std::pow(static_cast<double>(train_sigmas.front()), 1 / kRho);
  NoiseLevels levels;
  for (int i = 0; i < count; ++i) {
    const double ramp = i + 1 == count && count > 1 ? 1.0 : i * (1.0 / std::max(count - 1, 1));
    const double sigma = std::pow(most + ramp * (least - most), kRho);
    const double time = TimeOf(sigma, log_sigmas);
    levels.timesteps.push_back(round_down ? static_cast<int64_t>(time) : std::llrint(time));
    levels.sigmas.push_back(static_cast<float>(sigma));
  }
  return levels;
}

}  // namespace g4v
