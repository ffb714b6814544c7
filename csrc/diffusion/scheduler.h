// Samplers of a diffusion model, each step for step what diffusers' class does with the same
// configuration. They lie in samplers/, a class in each file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bundle/manifest.h"

namespace g4v {

// One scheduler serves one video: it remembers the steps before.
class Scheduler {
 public:
  // Throws Error(InvalidArgument) where `steps` is out of range for the schedule and Error(Bundle)
  // where the sampler cannot take what the model predicts, or the schedule cannot be used.
  static std::unique_ptr<Scheduler> Make(const SchedulerSpec& spec, int steps);
  virtual ~Scheduler() = default;

  // What the model is told at each step, from noise to image. Not whole for every sampler; exact in
  // float32.
  const std::vector<double>& timesteps() const { return timesteps_; }

  // Standard deviation of the noise that the first step takes.
  virtual double init_noise_sigma() const { return 1.0; }

  // What the model reads at step `index` is the sample times this.
  virtual double InputScale(int /*index*/) const { return 1.0; }

  // Whether step `index` adds noise.
  virtual bool AddsNoise(int /*index*/) const { return false; }

  // Turns the noisy sample of step `index` into that of the next one, in place, given the model's
  // prediction for it. `noise` has as many standard normal numbers where the step adds noise, and is
  // not read elsewhere. Steps go from 0 on, each once.
  virtual void Step(int index, std::span<const float> prediction, std::span<const float> noise,
                    std::span<float> sample) = 0;

 protected:
  std::vector<double> timesteps_;
};

}  // namespace g4v
