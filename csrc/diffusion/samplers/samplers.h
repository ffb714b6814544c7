// The samplers, and what they share: what a model predicts, and how a clean image follows from it.
#pragma once

#include <initializer_list>
#include <memory>
#include <string_view>

#include "bundle/manifest.h"
#include "diffusion/scheduler.h"

namespace g4v {

// As Scheduler::Make, of their own types.
std::unique_ptr<Scheduler> MakeDdim(const SchedulerSpec& spec, int steps);
std::unique_ptr<Scheduler> MakeDpmSolver(const SchedulerSpec& spec, int steps);
std::unique_ptr<Scheduler> MakeEuler(const SchedulerSpec& spec, int steps);
std::unique_ptr<Scheduler> MakeUniPc(const SchedulerSpec& spec, int steps);
std::unique_ptr<Scheduler> MakeLcm(const SchedulerSpec& spec, int steps);
std::unique_ptr<Scheduler> MakeFlowMatchEuler(const SchedulerSpec& spec, int steps);

// Epsilon: the noise; Velocity: alpha * noise - sigma * clean (Salimans and Ho, 2022); Sample: the
// clean image; Flow: noise - clean (Lipman et al., 2023).
enum class Prediction { Epsilon, Velocity, Sample, Flow };

// Throws Error(Bundle), which names the sampler, where it does not take the model's prediction_type.
Prediction PredictionOf(const SchedulerSpec& spec, std::initializer_list<std::string_view> able);

// A point of a schedule, x = alpha * clean + sigma * noise.
struct NoisePoint {
  double alpha;
  double sigma;
  double lambda;  // log(alpha / sigma), infinite without noise
};

// A sample at a point, of an image.
inline Scheduler::Mix MixOf(const NoisePoint& at) { return {at.alpha, at.sigma}; }

// With alpha^2 + sigma^2 = 1, of the ratio sigma / alpha.
NoisePoint VariancePreserving(double ratio);

// The clean image and the noise in a sample x, given the model's prediction p for it.
double CleanImage(Prediction type, const NoisePoint& at, double x, double p);
double NoiseIn(Prediction type, const NoisePoint& at, double x, double p);

}  // namespace g4v
