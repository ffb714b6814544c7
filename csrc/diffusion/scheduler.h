// Samplers of a diffusion model: DDIM (eta 0) and DPM-Solver++ (2M), step for step what diffusers'
// DDIMScheduler and DPMSolverMultistepScheduler do with the same configuration.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bundle/manifest.h"

namespace g4v {

// One scheduler serves one video: it remembers the previous step.
class Scheduler {
 public:
  // Throws Error(InvalidArgument) where `steps` is out of range for the schedule and Error(Bundle)
  // where the schedule itself cannot be used.
  static std::unique_ptr<Scheduler> Make(const SchedulerSpec& spec, int steps);
  virtual ~Scheduler() = default;

  // Training time steps, from noise to image.
  const std::vector<int64_t>& timesteps() const { return timesteps_; }

  // Turns the noisy sample of step `index` into that of the next one, in place, given the model's
  // prediction for it. Steps go from 0 on, each once.
  virtual void Step(int index, std::span<const float> prediction, std::span<float> sample) = 0;

 protected:
  std::vector<int64_t> timesteps_;
};

}  // namespace g4v
