// UniPC (Zhao et al., 2023), a predictor and a corrector of order 1 to 3, as diffusers'
// UniPCMultistepScheduler.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "base/error.h"
#include "diffusion/noise_schedule.h"
#include "diffusion/samplers/samplers.h"

namespace g4v {
namespace {

constexpr size_t kMostOrder = 3;
using Vector = std::array<double, kMostOrder>;
using Matrix = std::array<Vector, kMostOrder>;

// Solves the first `size` rows and columns, by Gaussian elimination with pivots.
Vector Solve(Matrix rows, Vector right, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    size_t pivot = i;
    for (size_t row = i + 1; row < size; ++row) {
      if (std::abs(rows[row][i]) > std::abs(rows[pivot][i])) pivot = row;
    }
    std::swap(rows[i], rows[pivot]);
    std::swap(right[i], right[pivot]);
    for (size_t row = i + 1; row < size; ++row) {
      const double factor = rows[row][i] / rows[i][i];
      for (size_t column = i; column < size; ++column) {
        rows[row][column] -= factor * rows[i][column];
      }
      right[row] -= factor * right[i];
    }
  }
  for (size_t i = size; i-- > 0;) {
    for (size_t column = i + 1; column < size; ++column) {
      right[i] -= rows[i][column] * right[column];
    }
    right[i] /= rows[i][i];
  }
  return right;
}

class UniPc : public Scheduler {
 public:
  UniPc(const SchedulerSpec& spec, int steps)
      : prediction_(PredictionOf(spec, {"epsilon", "v_prediction", "sample", "flow_prediction"})),
        predicts_clean_(spec.predict_x0),
        bh1_(spec.solver_type == "bh1"),
        lower_order_final_(spec.lower_order_final),
        order_(static_cast<size_t>(spec.solver_order)),
        uncorrected_(spec.disable_corrector) {
    Check(spec);
    if (prediction_ == Prediction::Flow) {
      SetFlow(spec, steps);
    } else {
      SetVariancePreserving(spec, steps);
    }
  }

  Mix NoiseAt(int index) const override { return MixOf(At(static_cast<size_t>(index))); }

  void Step(int index, std::span<const float> prediction, std::span<const float> /*noise*/,
            std::span<float> sample) override {
    const auto i = static_cast<size_t>(index);
    const NoisePoint now = At(i);
    std::vector<float> output(sample.size());
    for (size_t j = 0; j < sample.size(); ++j) {
      const auto convert = predicts_clean_ ? &CleanImage : &NoiseIn;
      output[j] = static_cast<float>(convert(prediction_, now, sample[j], prediction[j]));
    }
    const bool corrects = index > first_ && std::find(uncorrected_.begin(), uncorrected_.end(),
                                                      index - 1) == uncorrected_.end();
    if (corrects) Advance(i - 1, last_order_, &output, last_sample_, sample);
    // The newest first.
    outputs_.insert(outputs_.begin(), std::move(output));
    outputs_.resize(std::min(outputs_.size(), order_));
    const size_t left = timesteps_.size() - i;
    last_order_ = std::min(lower_order_final_ ? std::min(order_, left) : order_,
                           i - static_cast<size_t>(first_) + 1);
    last_sample_.assign(sample.begin(), sample.end());
    Advance(i, last_order_, nullptr, last_sample_, sample);
  }

 private:
  // What diffusers' class turns into NaN, and what it refuses.
  void Check(const SchedulerSpec& spec) const {
    const auto refuse = [](const std::string& what) {
      throw Error(Code::Bundle, "the scheduler's " + what);
    };
    const bool to_zero = spec.final_sigmas_type == "zero";
    const bool respaced = spec.use_karras_sigmas || spec.use_exponential_sigmas;
    const bool flow = prediction_ == Prediction::Flow;
    if (to_zero && bh1_) {
      refuse("solver_type \"bh1\" cannot end without noise; use final_sigmas_type \"sigma_min\"");
    }
    if (!predicts_clean_ && (to_zero || flow)) {
      refuse("predict_x0 is false, which is for final_sigmas_type \"sigma_min\" and not for flow");
    }
    if (!lower_order_final_ && order_ > 1 && (to_zero || respaced || flow)) {
      refuse(
          "lower_order_final is false, which is for final_sigmas_type \"sigma_min\" on the "
          "schedule's own noise levels");
    }
    if (flow && respaced) {
      refuse("use_karras_sigmas and use_exponential_sigmas are not for flow_prediction in unipc");
    }
  }

  void SetVariancePreserving(const SchedulerSpec& spec, int steps) {
    const std::vector<float> train_sigmas = TrainSigmas(spec);
    timesteps_ = MakeTimesteps(spec, steps, {.spacing = "linspace", .with_end = true});
    const bool respaced = spec.use_karras_sigmas || spec.use_exponential_sigmas;
    if (respaced) {
      const std::vector<float> log_sigmas = LogSigmas(train_sigmas);
      timesteps_.clear();
      for (const double sigma :
           NoiseLevels(spec, train_sigmas.back(), train_sigmas.front(), steps)) {
        const double time = TimeOf(sigma, log_sigmas);
        timesteps_.push_back(spec.use_karras_sigmas ? std::nearbyint(time) : std::floor(time));
        sigmas_.push_back(static_cast<float>(sigma));
      }
    } else {
      for (const double timestep : timesteps_) {
        sigmas_.push_back(train_sigmas[static_cast<size_t>(timestep)]);
      }
    }
    const float least = respaced ? sigmas_.back() : train_sigmas.front();
    sigmas_.push_back(spec.final_sigmas_type == "zero" ? 0.0f : least);
  }

  void SetFlow(const SchedulerSpec& spec, int steps) {
    const double train = spec.num_train_timesteps;
    CheckSteps(steps, spec.num_train_timesteps);
    std::vector<double> sigmas = PipelineSigmas(steps);
    if (spec.tokens == 0) {
      sigmas = Linspace(1.0, 1.0 / train, steps + 1);
      sigmas.pop_back();
    }
    const double shift = ShiftOf(spec);
    for (double& sigma : sigmas) sigma = ShiftSigma(shift, sigma);
    StretchToTerminal(spec, sigmas);
    constexpr double kBelowOne = 1e-6;  // so that alpha is not 0
    if (std::abs(sigmas.front() - 1.0) < kBelowOne) sigmas.front() -= kBelowOne;
    for (const double sigma : sigmas) timesteps_.push_back(std::floor(sigma * train));
    sigmas_.assign(sigmas.begin(), sigmas.end());
    sigmas_.push_back(spec.final_sigmas_type == "zero" ? 0.0f : sigmas_.back());
  }

  NoisePoint At(size_t index) const {
    const double sigma = sigmas_[index];
    if (prediction_ != Prediction::Flow) return VariancePreserving(sigma);
    return {1.0 - sigma, sigma, std::log(1.0 - sigma) - std::log(sigma)};
  }

  // From the sample `from` at noise level `index` to the next one, into `to`. `reached` is what the
  // model makes of it there: with it this is the corrector, without it the predictor.
  void Advance(size_t index, size_t order, const std::vector<float>* reached,
               const std::vector<float>& from, std::span<float> to) const {
    const NoisePoint start = At(index);
    const NoisePoint end = At(index + 1);
    const double h = end.lambda - start.lambda;
    const double hh = predicts_clean_ ? -h : h;
    const double phi_1 = std::expm1(hh);
    const double scale = bh1_ ? hh : phi_1;
    Vector ratios{1.0, 1.0, 1.0};
    for (size_t k = 1; k < order; ++k) ratios[k - 1] = (At(index - k).lambda - start.lambda) / h;
    ratios[order - 1] = 1.0;
    Vector rho = Weights(order, ratios, hh, phi_1, scale, reached != nullptr);
    for (size_t k = 0; k + 1 < order; ++k) rho[k] /= ratios[k];

    const double keep = predicts_clean_ ? end.sigma / start.sigma : end.alpha / start.alpha;
    const double size = predicts_clean_ ? end.alpha : end.sigma;
    const bool differs =
        order > 1 || reached != nullptr;  // of first order the scale may be infinite
    const std::vector<float>& newest = outputs_.front();
    for (size_t j = 0; j < to.size(); ++j) {
      const double m0 = newest[j];
      double sum = 0.0;
      for (size_t k = 1; k < order; ++k) sum += rho[k - 1] * (outputs_[k][j] - m0);
      if (reached != nullptr) sum += rho[order - 1] * ((*reached)[j] - m0);
      const double next = keep * from[j] - size * phi_1 * m0;
      to[j] = static_cast<float>(differs ? next - size * scale * sum : next);
    }
  }

  // Weights of the differences to earlier outputs, and of the corrector's to the one reached.
  static Vector Weights(size_t order, const Vector& ratios, double hh, double phi_1, double scale,
                        bool corrector) {
    const size_t unknown = corrector ? order : order - 1;
    if (unknown <= 1) return {0.5, 0.0, 0.0};
    Matrix powers{};
    Vector right{};
    double phi = phi_1 / hh - 1;
    double factorial = 1;
    for (size_t i = 0; i < order; ++i) {
      for (size_t k = 0; k < order; ++k) {
        powers[i][k] = std::pow(ratios[k], static_cast<double>(i));
      }
      right[i] = phi * factorial / scale;
      factorial *= static_cast<double>(i + 2);
      phi = phi / hh - 1 / factorial;
    }
    return Solve(powers, right, unknown);
  }

  Prediction prediction_;
  bool predicts_clean_;
  bool bh1_;
  bool lower_order_final_;
  size_t order_;
  std::vector<int> uncorrected_;             // steps whose result is not corrected
  std::vector<float> sigmas_;                // one for each step, and the final one
  std::vector<std::vector<float>> outputs_;  // clean images, or noise, of the last steps
  std::vector<float> last_sample_;           // that the last prediction started from
  size_t last_order_ = 1;
};

}  // namespace

std::unique_ptr<Scheduler> MakeUniPc(const SchedulerSpec& spec, int steps) {
  return std::make_unique<UniPc>(spec, steps);
}

}  // namespace g4v
