#include "diffusion/samplers/samplers.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"
#include "base/option.h"

namespace g4v {

Prediction PredictionOf(const SchedulerSpec& spec, std::initializer_list<std::string_view> able) {
  if (std::find(able.begin(), able.end(), spec.prediction_type) == able.end()) {
    throw Error(Code::Bundle, "the scheduler's prediction_type is \"" + spec.prediction_type +
                                  "\" but " + spec.type + " takes " +
                                  OneOf({able.begin(), able.size()}) + "; choose another sampler");
  }
  if (spec.prediction_type == "epsilon") return Prediction::Epsilon;
  if (spec.prediction_type == "v_prediction") return Prediction::Velocity;
  return spec.prediction_type == "sample" ? Prediction::Sample : Prediction::Flow;
}

NoisePoint VariancePreserving(double ratio) {
  const double alpha = 1.0 / std::sqrt(ratio * ratio + 1.0);
  return {alpha, ratio * alpha, -std::log(ratio)};
}

double CleanImage(Prediction type, const NoisePoint& at, double x, double p) {
  switch (type) {
    case Prediction::Epsilon:
      return (x - at.sigma * p) / at.alpha;
    case Prediction::Velocity:
      return at.alpha * x - at.sigma * p;
    case Prediction::Sample:
      return p;
    default:
      return x - at.sigma * p;  // alpha is 1 - sigma
  }
}

double NoiseIn(Prediction type, const NoisePoint& at, double x, double p) {
  if (type == Prediction::Epsilon) return p;
  if (type == Prediction::Velocity) return at.alpha * p + at.sigma * x;
  return (x - at.alpha * CleanImage(type, at, x, p)) / at.sigma;
}

}  // namespace g4v
