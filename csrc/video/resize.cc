// Pillow's resampling in fixed point. Two passes, one for each axis; between them the image
// is rounded to uint8. Weights are computed in double, normalised, and rounded to 22 fractional
// bits; each sum starts at one half.

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "video/preprocess.h"

namespace g4v {
namespace {

constexpr int kChannels = 3;
constexpr int kFractionBits = 32 - 8 - 2;  // room for the filter's overshoot beside 8 bits of value
constexpr int32_t kHalf = 1 << (kFractionBits - 1);
// Keys' cubic with a = -0.5.
double Cubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double Sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double Lanczos(double x) { return -3.0 <= x && x < 3.0 ? Sinc(x) * Sinc(x / 3) : 0.0; }

struct Kernel {
  double (*weight)(double);
  double support;  // in source pixels at scale 1
};

Kernel KernelOf(Resampling resampling) {
  return resampling == Resampling::kLanczos ? Kernel{Lanczos, 3.0} : Kernel{Cubic, 2.0};
}

// For each output position the source range [first, first + count) and its weights, `stride`
// entries apart.
struct Filter {
  int stride = 0;
  std::vector<int> first;
  std::vector<int> count;
  std::vector<int32_t> weights;
};

Filter MakeFilter(int in_size, int out_size, const Kernel& kernel) {
  const double scale = static_cast<double>(in_size) / out_size;
  const double filter_scale =
      std::max(scale, 1.0);  // antialiasing: a smaller image widens the filter
  const double support = kernel.support * filter_scale;
  Filter filter;
  filter.stride = static_cast<int>(std::ceil(support)) * 2 + 1;
  filter.weights.assign(static_cast<size_t>(out_size) * static_cast<size_t>(filter.stride), 0);
  std::vector<double> exact(static_cast<size_t>(filter.stride));
  for (int out = 0; out < out_size; ++out) {
    const double center = (out + 0.5) * scale;
    const double inverse = 1.0 / filter_scale;
    const int first = std::max(static_cast<int>(center - support + 0.5), 0);
    const int last = std::min(static_cast<int>(center + support + 0.5), in_size);
    double sum = 0.0;
    for (int i = first; i < last; ++i) {
      const double weight = kernel.weight((i - center + 0.5) * inverse);
      exact[static_cast<size_t>(i - first)] = weight;
      sum += weight;
    }
    filter.first.push_back(first);
    filter.count.push_back(last - first);
    int32_t* weights = filter.weights.data() + static_cast<ptrdiff_t>(out) * filter.stride;
    for (int i = 0; i < last - first; ++i) {
      const double weight =
          sum != 0.0 ? exact[static_cast<size_t>(i)] / sum : exact[static_cast<size_t>(i)];
      const double scaled = weight * (1 << kFractionBits);
      weights[i] = static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
  }
  return filter;
}

uint8_t ToByte(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255));
}

std::vector<uint8_t> ResizeRows(const uint8_t* image, int height, int width, int out_width,
                                const Kernel& kernel) {
  const Filter filter = MakeFilter(width, out_width, kernel);
  std::vector<uint8_t> result(static_cast<size_t>(height) * static_cast<size_t>(out_width) *
                              kChannels);
  uint8_t* target = result.data();
  for (int row = 0; row < height; ++row, image += static_cast<ptrdiff_t>(width) * kChannels) {
    const int32_t* weights = filter.weights.data();
    for (int out = 0; out < out_width; ++out, weights += filter.stride, target += kChannels) {
      const uint8_t* pixel =
          image + static_cast<ptrdiff_t>(filter.first[static_cast<size_t>(out)]) * kChannels;
      int32_t red = kHalf, green = kHalf, blue = kHalf;
      const int count = filter.count[static_cast<size_t>(out)];
      for (int k = 0; k < count; ++k, pixel += kChannels) {
        red += pixel[0] * weights[k];
        green += pixel[1] * weights[k];
        blue += pixel[2] * weights[k];
      }
      target[0] = ToByte(red);
      target[1] = ToByte(green);
      target[2] = ToByte(blue);
    }
  }
  return result;
}

std::vector<uint8_t> ResizeColumns(const uint8_t* image, int height, int row_bytes, int out_height,
                                   const Kernel& kernel) {
  const Filter filter = MakeFilter(height, out_height, kernel);
  std::vector<uint8_t> result(static_cast<size_t>(out_height) * static_cast<size_t>(row_bytes));
  std::vector<int32_t> sums(static_cast<size_t>(row_bytes));
  uint8_t* target = result.data();
  const int32_t* weights = filter.weights.data();
  for (int out = 0; out < out_height; ++out, weights += filter.stride, target += row_bytes) {
    std::fill(sums.begin(), sums.end(), kHalf);
    const uint8_t* row =
        image + static_cast<ptrdiff_t>(filter.first[static_cast<size_t>(out)]) * row_bytes;
    for (int k = 0; k < filter.count[static_cast<size_t>(out)]; ++k, row += row_bytes) {
      const int32_t weight = weights[k];
      for (int i = 0; i < row_bytes; ++i) sums[static_cast<size_t>(i)] += row[i] * weight;
    }
    for (int i = 0; i < row_bytes; ++i) target[i] = ToByte(sums[static_cast<size_t>(i)]);
  }
  return result;
}

}  // namespace

std::vector<uint8_t> Resize(const uint8_t* image, int height, int width, int out_height,
                            int out_width, Resampling resampling) {
  if (height < 1 || width < 1 || out_height < 1 || out_width < 1) {
    throw Error(Code::InvalidArgument, "an image to resize has no pixels");
  }
  const auto pixels = [](int rows, int columns) {
    return static_cast<size_t>(rows) * static_cast<size_t>(columns) * kChannels;
  };
  if (width == out_width && height == out_height) {
    return std::vector<uint8_t>(image, image + pixels(height, width));
  }
  const Kernel kernel = KernelOf(resampling);
  if (width == out_width)
    return ResizeColumns(image, height, width * kChannels, out_height, kernel);
  if (height == out_height) return ResizeRows(image, height, width, out_width, kernel);
  // The rounding between the passes makes their order visible; this is the choice of Pillow 13.
  const bool columns_first =
      out_height < height && 2 * (static_cast<int64_t>(width) - out_width) < height - out_height;
  if (columns_first) {
    const auto shorter = ResizeColumns(image, height, width * kChannels, out_height, kernel);
    return ResizeRows(shorter.data(), out_height, width, out_width, kernel);
  }
  const auto narrower = ResizeRows(image, height, width, out_width, kernel);
  return ResizeColumns(narrower.data(), height, out_width * kChannels, out_height, kernel);
}

}  // namespace g4v
