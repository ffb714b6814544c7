// Bicubic resizing with antialiasing along one axis, in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace g4v::fuzz {

inline double Cubic(double x) {  // Keys' filter with a = -0.5
  x = std::fabs(x);
  if (x < 1) return 1.5 * x * x * x - 2.5 * x * x + 1;
  return x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0;
}

// One axis: `in` values that are `step` apart to `out` values, with the weights of all of them.
inline std::vector<double> Line(const std::vector<double>& values, size_t out) {
  const double scale = static_cast<double>(values.size()) / static_cast<double>(out);
  const double width = std::max(scale, 1.0);
  std::vector<double> result(out);
  for (size_t i = 0; i < out; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    double sum = 0, total = 0;
    for (size_t k = 0; k < values.size(); ++k) {
      const double weight = Cubic((static_cast<double>(k) + 0.5 - center) / width);
      sum += weight * values[k];
      total += weight;
    }
    result[i] = std::clamp(sum / total, 0.0, 255.0);
  }
  return result;
}

}  // namespace g4v::fuzz
