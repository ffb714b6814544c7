// The noise of every training time step, and the time steps that a sampler visits, number for number
// as diffusers computes them.
#pragma once

#include <string_view>
#include <vector>

#include "bundle/manifest.h"

namespace g4v {

// Cumulative products of 1 - beta, float32 as in diffusers; one for each training time step. Throws
// Error(Bundle) for an unknown beta_schedule.
std::vector<float> AlphasCumprod(const SchedulerSpec& spec);

// The noise level sqrt((1 - alpha) / alpha) of each training time step. With zero terminal SNR the
// last is 4096 instead of infinite, as in diffusers. Throws Error(Bundle), which names the sampler,
// where the schedule begins without noise or ends in nothing but noise.
std::vector<float> TrainSigmas(const SchedulerSpec& spec);

struct TimestepRule {
  std::string_view spacing;  // in place of "default"
  bool with_end = false;     // counts one step more, the clean image, and does not visit it
  bool whole = true;         // rounds those of "linspace"
};

// Throws Error(InvalidArgument) where `steps` is not from 1 to `most`.
void CheckSteps(int steps, int most);

// Time steps of `steps` steps, from noise to image, exact in float32. Throws Error(InvalidArgument)
// where `steps` is out of range for the schedule.
std::vector<double> MakeTimesteps(const SchedulerSpec& spec, int steps, const TimestepRule& rule);

// numpy.linspace, float64.
std::vector<double> Linspace(double start, double stop, int count);

// The value of `sigmas` at a time step between two.
double Interpolate(const std::vector<float>& sigmas, double timestep);

// `count` noise levels from `most` to `least`: of Karras et al. (2022), rho 7, or evenly spaced
// logarithms, as use_karras_sigmas and use_exponential_sigmas say.
std::vector<double> NoiseLevels(const SchedulerSpec& spec, double most, double least, int count);

// The place of a noise level among the training time steps, by linear interpolation of logarithms.
std::vector<float> LogSigmas(const std::vector<float>& train_sigmas);
double TimeOf(double sigma, const std::vector<float>& log_sigmas);

// Of flow matching: more steps at high noise (Esser et al., 2024), for a shift above 1.
double ShiftSigma(double shift, double sigma);
// spec.shift, or, with use_dynamic_shifting, the shift of a video of spec.tokens. Throws
// Error(InvalidArgument) where that is no positive number of a sensible size.
double ShiftOf(const SchedulerSpec& spec);
// The noise levels of a pipeline that gives them, before they are shifted: from 1 to 1 / steps.
std::vector<double> PipelineSigmas(int steps);
// The noise levels of LTX-Video from 0.9.5 on, before the last, which is 0: half of them go evenly from
// 1 to 0.975, and the others in a parabola, which begins with the same slope, to 0. Any steps from 1.
std::vector<double> LinearQuadraticSigmas(int steps);
// Stretches noise levels so that the last is spec.shift_terminal, where that is not 0.
void StretchToTerminal(const SchedulerSpec& spec, std::vector<double>& sigmas);

}  // namespace g4v
