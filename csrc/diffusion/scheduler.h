// Samplers of a diffusion model, each step for step what diffusers' class does with the same
// configuration. They lie in samplers/, a class in each file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bundle/manifest.h"

namespace g4v {

enum class Prediction;  // what the model predicts: samplers/samplers.h

// One scheduler serves one video: it remembers the steps before.
class Scheduler {
 public:
  // `first` is the step that the video begins with, from 0 to steps - 1; above 0 the sample is one
  // that noise was added to, as NoiseAt says. Throws Error(InvalidArgument) where `steps` is out of
  // range for the schedule and Error(Bundle) where the sampler cannot take what the model predicts,
  // or the schedule cannot be used.
  static std::unique_ptr<Scheduler> Make(const SchedulerSpec& spec, int steps, int first = 0);
  virtual ~Scheduler() = default;

  // What the model is told at each step, from noise to image. Not whole for every sampler; exact in
  // float32.
  const std::vector<double>& timesteps() const { return timesteps_; }

  // A sample: image * the clean image + noise * standard normal numbers.
  struct Mix {
    double image;
    double noise;
  };
  // The sample of step `index` that is made of an image, as add_noise of diffusers' class, or
  // scale_noise, has it.
  virtual Mix NoiseAt(int index) const = 0;

  // Standard deviation of the noise that step 0 takes where there is no image.
  virtual double init_noise_sigma() const { return 1.0; }

  // What the model reads at step `index` is the sample times this.
  virtual double InputScale(int /*index*/) const { return 1.0; }

  // Whether step `index` adds noise.
  virtual bool AddsNoise(int /*index*/) const { return false; }

  // The clean latents that the model's prediction for step `index` stands for, given the sample that
  // the step begins with; as many numbers as `clean` has, from the start of both.
  void Clean(int index, std::span<const float> prediction, std::span<const float> sample,
             std::span<float> clean) const;

  // Turns the noisy sample of step `index` into that of the next one, in place, given the model's
  // prediction for it. `noise` has as many standard normal numbers where the step adds noise, and is
  // not read elsewhere. Steps go from the first on, each once.
  virtual void Step(int index, std::span<const float> prediction, std::span<const float> noise,
                    std::span<float> sample) = 0;

 protected:
  std::vector<double> timesteps_;
  int first_ = 0;  // multistep samplers know no outputs of steps before it

 private:
  Prediction predicts_{};
};

}  // namespace g4v
