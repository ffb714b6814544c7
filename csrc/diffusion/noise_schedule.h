// The noise of every training time step, and the time steps that a sampler visits, number for number
// as diffusers computes them.
#pragma once

#include <cstdint>
#include <vector>

#include "bundle/manifest.h"

namespace g4v {

// Cumulative products of 1 - beta, float32 as in diffusers; one for each training time step. Throws
// Error(Bundle) for an unknown beta_schedule.
std::vector<float> AlphasCumprod(const SchedulerSpec& spec);

// Time steps of `steps` steps, from noise to image. The multistep solver counts one step more, the
// clean image, and does not visit it (`with_end`). Throws Error(InvalidArgument) where `steps` is
// out of range for the schedule.
std::vector<int64_t> MakeTimesteps(const SchedulerSpec& spec, int steps, bool with_end);

// What a sampler visits: a time step and the noise level sqrt((1 - alpha) / alpha) of each step.
struct NoiseLevels {
  std::vector<int64_t> timesteps;
  std::vector<float> sigmas;
};

// `count` noise levels of Karras et al. (2022), rho 7, between the ends of `train_sigmas`, which
// rise; each with the time step that lies nearest, or the one below it (`round_down`).
NoiseLevels KarrasNoiseLevels(const std::vector<float>& train_sigmas, int count, bool round_down);

}  // namespace g4v
