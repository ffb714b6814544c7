#include "diffusion/scheduler.h"

#include <string>

#include "base/error.h"
#include "base/option.h"
#include "diffusion/samplers/samplers.h"

namespace g4v {

namespace {

std::unique_ptr<Scheduler> MakeSampler(const SchedulerSpec& spec, int steps) {
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
  return made;
}

}  // namespace g4v
