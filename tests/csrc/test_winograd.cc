// Convolutions by Winograd's way of every instruction set against the formula of winograd.h in
// float64.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "kernels/cpu/convolution/winograd.h"
#include "kernels/cpu/thread_pool.h"

namespace {

using namespace g4v::kernels;

std::vector<float> Random(size_t count, float mean, float spread, std::mt19937& random) {
  std::normal_distribution<float> normal(mean, spread);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

struct Case {
  int64_t batch, channels, out_channels, height, width;
  int64_t groups = 0;  // 0: without a norm
  float mean = 0.0f;   // of the values
  int64_t filter_width = 3;
};

// A convolution of random numbers, and what it must give.
struct Convolution {
  Convolution(const Case& of, std::mt19937& random) : c(of) {
    const auto size = [](int64_t a, int64_t b, int64_t d = 1, int64_t e = 1) {
      return static_cast<size_t>(a * b * d * e);
    };
    x = Random(size(c.batch, c.channels, c.height, c.width), c.mean, 1.0f, random);
    weight = Random(size(c.out_channels, c.channels, 3, c.filter_width), 0.0f, 1.0f, random);
    bias = Random(size(c.out_channels, 1), 0.0f, 3.0f, random);
    scale = Random(size(c.channels, 1), 1.0f, 0.5f, random);
    shift = Random(size(c.channels, 1), 0.0f, 0.5f, random);
    norm = {c.groups, 1e-5f, scale.data(), shift.data()};
    const std::vector<double> in = Values();
    for (int64_t b = 0; b < c.batch; ++b) {
      for (int64_t o = 0; o < c.out_channels; ++o) {
        for (int64_t i = 0; i < c.height * c.width; ++i) wanted.push_back(Sum(in, b, o, i));
      }
    }
  }

  std::vector<double> Values() const {
    std::vector<double> values(x.begin(), x.end());
    if (!c.groups) return values;
    const auto area = static_cast<size_t>(c.height * c.width);
    const size_t count = static_cast<size_t>(c.channels / c.groups) * area;
    for (size_t first = 0; first < values.size(); first += count) {
      double mean = 0.0;
      double variance = 0.0;
      for (size_t i = 0; i < count; ++i) mean += values[first + i] / static_cast<double>(count);
      for (size_t i = 0; i < count; ++i) {
        variance += std::pow(values[first + i] - mean, 2) / static_cast<double>(count);
      }
      for (size_t i = first; i < first + count; ++i) {
        const size_t channel = i / area % static_cast<size_t>(c.channels);
        const double z = (values[i] - mean) / std::sqrt(variance + norm.epsilon) * scale[channel] +
                         shift[channel];
        values[i] = z / (1.0 + std::exp(-z));
      }
    }
    return values;
  }

  double Sum(const std::vector<double>& in, int64_t b, int64_t o, int64_t position) const {
    double sum = bias[static_cast<size_t>(o)];
    const int64_t width = c.filter_width;
    const int64_t taps = 3 * width;
    for (int64_t k = 0; k < c.channels * taps; ++k) {
      const int64_t y = position / c.width + k % taps / width - 1;
      const int64_t column = position % c.width + k % width - width / 2;
      if (y < 0 || y >= c.height || column < 0 || column >= c.width) continue;
      const int64_t at = ((b * c.channels + k / taps) * c.height + y) * c.width + column;
      sum += double{weight[static_cast<size_t>(o * c.channels * taps + k)]} *
             in[static_cast<size_t>(at)];
    }
    return sum;
  }

  // What the kernels give; one float behind it, and a word behind the workspace, stay as they are.
  std::vector<float> Run(Isa isa, Parallel& pool) const {
    constexpr uint32_t kMark = 0xfeedbeef;
    std::vector<float> out(wanted.size() + 1, 77.0f);
    const WinogradWeight packed(weight.data(), bias.data(), c.out_channels, c.channels,
                                c.filter_width, pool, isa);
    ConvolutionParams p{c.batch, c.height, c.width, x.data(), out.data()};
    if (c.groups) p.norm = &norm;
    const size_t bytes = WinogradWorkspaceSize(p, packed, pool.threads());
    CHECK(bytes % 64 == 0);
    const std::unique_ptr<char, decltype(&std::free)> workspace(
        static_cast<char*>(std::aligned_alloc(64, bytes + 64)), &std::free);
    std::copy_n(reinterpret_cast<const char*>(&kMark), sizeof kMark, workspace.get() + bytes);
    WinogradConvolution(p, packed, workspace.get(), pool);
    CHECK(std::equal(workspace.get() + bytes, workspace.get() + bytes + sizeof kMark,
                     reinterpret_cast<const char*>(&kMark)));
    CHECK(out.back() == 77.0f);
    out.pop_back();
    return out;
  }

  // The norm of the difference over the norm.
  double Error(const std::vector<float>& found) const {
    double off = 0.0;
    double all = 0.0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      off += std::pow(found[i] - wanted[i], 2);
      all += std::pow(wanted[i], 2);
    }
    return std::sqrt(off / all);
  }

  Case c;
  std::vector<float> x, weight, bias, scale, shift;
  GroupNormParams norm;
  std::vector<double> wanted;
};

// Whole tiles and vectors, one value less and more, images smaller than a tile, rows of tiles that fill no
// vector, blocks that span images; channels that fill no group.
std::vector<Case> Cases() {
  std::vector<Case> cases = {{1, 1, 1, 1, 1},        {1, 3, 2, 2, 5},      {2, 8, 8, 4, 4},
                             {1, 16, 24, 9, 65},     {3, 5, 7, 13, 11},    {1, 4, 9, 40, 3},
                             {1, 2, 1, 3, 200},      {5, 6, 16, 7, 64},    {1, 320, 32, 8, 12},
                             {2, 8, 8, 17, 6, 2},    {1, 12, 5, 5, 50, 3}, {2, 6, 8, 1, 1, 1},
                             {1, 64, 16, 33, 47, 32}};
#if defined(__SANITIZE_THREAD__)
  cases.resize(4);
  cases.push_back({2, 8, 8, 17, 6, 2});
#endif
  const size_t count = cases.size();
  for (size_t i = 0; i < count; ++i) {
    cases.push_back(cases[i]);
    cases.back().filter_width = 1;
  }
  return cases;
}

void TestVersion(Isa isa) {
  std::mt19937 random(17);
  ThreadPool one(1);
  ThreadPool three(3);
  for (const Case& of : Cases()) {
    const Convolution convolution(of, random);
    const std::vector<float> found = convolution.Run(isa, three);
    CHECK(convolution.Error(found) < 8e-6);
    CHECK(found == convolution.Run(isa, one));  // threads change nothing
  }
}

// A mean far above the deviation takes no more bits than float32 has lost already.
void TestValuesFarFromZero(Isa isa) {
  std::mt19937 random(18);
  ThreadPool pool(2);
  const Convolution convolution({1, 32, 16, 24, 31, 4, 1000.0f}, random);
  CHECK(convolution.Error(convolution.Run(isa, pool)) < 1e-4);
}

void TestNotFinite(Isa isa) {
  std::mt19937 random(19);
  ThreadPool pool(2);
  Convolution convolution({1, 2, 2, 12, 12}, random);
  convolution.x[5 * 12 + 5] = HUGE_VALF;
  const std::vector<float> found = convolution.Run(isa, pool);
  CHECK(!std::isfinite(found[5 * 12 + 5]));
  CHECK(std::isfinite(found[11 * 12 + 11]));  // of a tile that does not see it
}

}  // namespace

int main() {
  for (const Isa isa : {Isa::kPlain, Isa::kAvx2, Isa::kAvx512, Isa::kAmx}) {
    if (Available(isa)) {
      TestVersion(isa);
      TestValuesFarFromZero(isa);
      TestNotFinite(isa);
    } else {
      std::cerr << Name(isa) << ": skipped, not on this processor\n";
    }
  }
  return g4v::test::Finish();
}
