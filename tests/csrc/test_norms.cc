// The fused normalisations of every instruction set against the formulas of norms.h in float64.
#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "kernels/cpu/norm/norms.h"
#include "kernels/cpu/thread_pool.h"

namespace {

using namespace g4v::kernels;

constexpr float kEpsilon = 1e-6f;

std::vector<float> Random(size_t count, float spread, std::mt19937& random) {
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// The largest error, relative to the largest value of LayerNorm(h) * scale + shift.
double NormError(const std::vector<double>& h, const LayerNormParams& p) {
  double worst = 0.0;
  double largest = 1e-30;
  for (int64_t row = 0; row < p.rows; ++row) {
    const double* const values = h.data() + row * p.width;
    double mean = 0.0;
    for (int64_t i = 0; i < p.width; ++i) mean += values[i] / static_cast<double>(p.width);
    double variance = 0.0;
    for (int64_t i = 0; i < p.width; ++i) {
      variance += (values[i] - mean) * (values[i] - mean) / static_cast<double>(p.width);
    }
    for (int64_t i = 0; i < p.width; ++i) {
      const double wanted =
          (values[i] - mean) / std::sqrt(variance + p.epsilon) * p.scale[i] + p.shift[i];
      const double found = p.out[row * p.width + i];
      worst = std::max(worst, std::isfinite(found) ? std::abs(found - wanted) : HUGE_VAL);
      largest = std::max(largest, std::abs(wanted));
    }
  }
  return worst / largest;
}

void TestVersion(Isa isa) {
  std::mt19937 random(11);
  ThreadPool pool(3);
  // Whole vectors, a few values more, fewer than a vector has lanes; one row, and more than
  // threads.
  for (const int64_t width : {1, 7, 16, 31, 1024, 2816, 2819}) {
    for (const int64_t rows : {1, 2, 33}) {
      for (const float spread : {1.0f, 30.0f}) {  // 30: exp(-z) of a gate would overflow
        const auto size = static_cast<size_t>(rows * width);
        const auto columns = static_cast<size_t>(width);
        const std::vector<float> x = Random(2 * size, spread, random);
        const std::vector<float> skip = Random(size, spread, random);
        const std::vector<float> bias = Random(2 * columns, 1.0f, random);
        const std::vector<float> scale = Random(columns, 1.0f, random);
        const std::vector<float> shift = Random(columns, 1.0f, random);
        std::vector<float> out(size + 1, 77.0f);
        std::vector<float> sum(size + 1, 77.0f);
        const LayerNormParams norm{rows, width, kEpsilon, scale.data(), shift.data(), out.data()};

        for (const float* each : {bias.data(), static_cast<const float*>(nullptr)}) {
          SkipLayerNorm({norm, x.data(), skip.data(), each, sum.data()}, pool, isa);
          std::vector<double> h(size);
          for (size_t i = 0; i < size; ++i) {
            h[i] = double{x[i]} + skip[i] + (each ? each[i % columns] : 0.0f);
            CHECK(std::abs(sum[i] - h[i]) <= 1e-6 * (1.0 + std::abs(h[i])) * spread);
          }
          CHECK(NormError(h, norm) < 2e-5);
          CHECK(out[size] == 77.0f && sum[size] == 77.0f);
        }

        GatedLayerNorm({norm, x.data(), bias.data()}, pool, isa);
        std::vector<double> h(size);
        for (size_t i = 0; i < size; ++i) {
          const size_t row = i / columns;
          const size_t column = i % columns;
          const double z = double{x[2 * row * columns + column]} + bias[column];
          const double u = double{x[(2 * row + 1) * columns + column]} + bias[columns + column];
          h[i] = z / (1.0 + std::exp(-z)) * u;
        }
        CHECK(NormError(h, norm) < 2e-5);
        CHECK(out[size] == 77.0f);
      }
    }
  }
}

void TestEqualRowsGiveTheShift() {
  ThreadPool pool(1);
  const std::vector<float> x(40, 3.0f), skip(40, -1.0f), scale(40, 5.0f), shift(40, 0.25f);
  std::vector<float> out(40), sum(40);
  SkipLayerNorm({{1, 40, kEpsilon, scale.data(), shift.data(), out.data()},
                 x.data(),
                 skip.data(),
                 nullptr,
                 sum.data()},
                pool);
  for (const float value : out) CHECK(value == 0.25f);
}

// There are no norms of AMX: it takes those of AVX-512.
void TestAmxTakesAvx512() {
  std::mt19937 random(12);
  ThreadPool pool(2);
  constexpr int64_t kRows = 33;
  constexpr int64_t kWidth = 1027;
  const std::vector<float> x = Random(2 * kRows * kWidth, 1.0f, random);
  const std::vector<float> scale = Random(2 * kWidth, 1.0f, random);
  std::vector<float> found[2];
  for (const Isa isa : {Isa::kAvx512, Isa::kAmx}) {
    std::vector<float>& out = found[isa == Isa::kAmx];
    out.resize(3 * kRows * kWidth);
    const LayerNormParams norm{kRows, kWidth, kEpsilon, scale.data(), scale.data(), out.data()};
    SkipLayerNorm({norm, x.data(), x.data(), scale.data(), out.data() + kRows * kWidth}, pool, isa);
    LayerNormParams gated = norm;
    gated.out = out.data() + 2 * kRows * kWidth;
    GatedLayerNorm({gated, x.data(), scale.data()}, pool, isa);
  }
  CHECK(found[0] == found[1]);  // those of plain differ in some bits
}

}  // namespace

int main() {
  for (const Isa isa : {Isa::kPlain, Isa::kAvx2, Isa::kAvx512}) {
    if (Available(isa)) {
      TestVersion(isa);
    } else {
      std::cerr << Name(isa) << ": skipped, not on this processor\n";
    }
  }
  if (Available(Isa::kAvx512)) TestAmxTakesAvx512();
  TestEqualRowsGiveTheShift();
  return g4v::test::Finish();
}
