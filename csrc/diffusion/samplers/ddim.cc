// DDIM with eta 0 (Song et al., 2021), as diffusers' DDIMScheduler.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "diffusion/noise_schedule.h"
#include "diffusion/samplers/samplers.h"

namespace g4v {
namespace {

class Ddim : public Scheduler {
 public:
  Ddim(const SchedulerSpec& spec, int steps)
      : prediction_(PredictionOf(spec, {"epsilon", "v_prediction", "sample"})),
        clip_(spec.clip_sample ? spec.clip_sample_range : std::numeric_limits<double>::infinity()),
        stride_(spec.num_train_timesteps / std::max(steps, 1)),
        alphas_(AlphasCumprod(spec)) {
    timesteps_ = MakeTimesteps(spec, steps, {.spacing = "leading"});
    final_alpha_ = spec.set_alpha_to_one ? 1.0f : alphas_.front();
    if (prediction_ == Prediction::Epsilon && alphas_.back() <= 0.0f) {
      throw Error(Code::Bundle,
                  "the scheduler predicts epsilon on a schedule with zero terminal SNR, which "
                  "cannot be sampled; use v_prediction");
    }
  }

  Mix NoiseAt(int index) const override {
    return MixOf(At(static_cast<int64_t>(timesteps_[static_cast<size_t>(index)])));
  }

  void Step(int index, std::span<const float> prediction, std::span<const float> /*noise*/,
            std::span<float> sample) override {
    const auto timestep = static_cast<int64_t>(timesteps_[static_cast<size_t>(index)]);
    const int64_t next = timestep - stride_;
    const double alpha_next = next >= 0 ? alphas_[static_cast<size_t>(next)] : final_alpha_;
    const NoisePoint now = At(timestep);
    const double a_next = std::sqrt(alpha_next);
    const double b_next = std::sqrt(1.0 - alpha_next);
    for (size_t i = 0; i < sample.size(); ++i) {
      const double x = sample[i];
      const double p = prediction[i];
      const double clean = CleanImage(prediction_, now, x, p);
      sample[i] = static_cast<float>(a_next * std::clamp(clean, -clip_, clip_) +
                                     b_next * NoiseIn(prediction_, now, x, p));
    }
  }

 private:
  NoisePoint At(int64_t timestep) const {
    const double alpha = alphas_[static_cast<size_t>(timestep)];
    return {std::sqrt(alpha), std::sqrt(1.0 - alpha), 0.0};
  }

  Prediction prediction_;
  double clip_;
  int64_t stride_;
  std::vector<float> alphas_;
  double final_alpha_ = 1.0;
};

}  // namespace

std::unique_ptr<Scheduler> MakeDdim(const SchedulerSpec& spec, int steps) {
  return std::make_unique<Ddim>(spec, steps);
}

}  // namespace g4v
