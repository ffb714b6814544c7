#include "diffusion/scheduler.h"

#include <string>

#include "base/error.h"
#include "base/option.h"
#include "diffusion/samplers/samplers.h"

namespace g4v {

namespace {

std::unique_ptr<Scheduler> MakeSampler(const SchedulerSpec& spec, int steps) {
  if (spec.use_linear_quadratic_sigmas && spec.type != "flow_match_euler") {
    throw Error(Code::InvalidArgument, "scheduler is \"" + spec.type +
                                           "\", but use_linear_quadratic_sigmas is of "
                                           "flow_match_euler alone");
  }
  if (spec.type == "ddim") return MakeDdim(spec, steps);
  if (spec.type == "dpmsolver++" || spec.type == "sde-dpmsolver++") {
    return MakeDpmSolver(spec, steps);
  }
  if (spec.type == "euler" || spec.type == "euler_ancestral") return MakeEuler(spec, steps);
  if (spec.type == "unipc") return MakeUniPc(spec, steps);
  if (spec.type == "lcm") return MakeLcm(spec, steps);
  if (spec.type == "flow_match_euler") return MakeFlowMatchEuler(spec, steps);
  throw Error(Code::InvalidArgument,
              "scheduler is \"" + spec.type + "\" but must be " + OneOf(kSchedulers));
}

}  // namespace

std::unique_ptr<Scheduler> Scheduler::Make(const SchedulerSpec& spec, int steps, int first) {
  std::unique_ptr<Scheduler> made = MakeSampler(spec, steps);
  if (first < 0 || first >= steps) {
    throw Error(Code::InvalidArgument, "the first step is " + std::to_string(first) +
                                           " but must be 0 to " + std::to_string(steps - 1));
  }
  made->first_ = first;
  made->predicts_ = PredictionOf(spec, {"epsilon", "v_prediction", "sample", "flow_prediction"});
  return made;
}

void Scheduler::Clean(int index, std::span<const float> prediction, std::span<const float> sample,
                      std::span<float> clean) const {
  const Mix mix = NoiseAt(index);
  // The prediction is of what the model reads.
  const double scale = InputScale(index);
  const NoisePoint at{mix.image * scale, mix.noise * scale, 0.0};
  for (size_t i = 0; i < clean.size(); ++i) {
    clean[i] =
        static_cast<float>(CleanImage(predicts_, at, scale * double{sample[i]}, prediction[i]));
  }
}

}  // namespace g4v
