// The split GEMM on AMX, bf16x2 and bf16x3, against double precision.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/gemm/gemm_amx.h"
#include "kernels/cpu/thread_pool.h"

#ifdef G4V_AMX

namespace {

using namespace g4v::kernels;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// Operands in buffers of exactly their size, so that AddressSanitizer sees a step outside.
struct Problem {
  int64_t rows, depth, columns;
  std::vector<float> a, b, c;

  Problem(int64_t rows, int64_t depth, int64_t columns, uint32_t seed)
      : rows(rows),
        depth(depth),
        columns(columns),
        a(static_cast<size_t>(rows * depth)),
        b(static_cast<size_t>(depth * columns)),
        c(static_cast<size_t>(rows * columns), std::numeric_limits<float>::quiet_NaN()) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& value : a) value = normal(random);
    for (float& value : b) value = normal(random);
  }

  void Run(int terms, Parallel& parallel) { RunTo(c.data(), terms, parallel); }

  void RunTo(float* to, int terms, Parallel& parallel) const {
    const PackedMatrix packed(b.data(), depth, columns, terms, parallel);
    const size_t bytes = GemmAmxWorkspaceSize(rows, packed);
    const std::unique_ptr<void, Free> workspace(
        std::aligned_alloc(64, std::max<size_t>(64, bytes)));
    GemmAmx(a.data(), rows, packed, to, workspace.get(), parallel);
  }

  // The largest error over sum |a b| of the value, and that of all values over their norm.
  std::pair<double, double> Errors() const {
    double worst = 0;
    double squares = 0;
    double norm = 1e-300;
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        double sum = 0;
        double size = 1e-300;
        for (int64_t d = 0; d < depth; ++d) {
          const double product = static_cast<double>(a[row * depth + d]) * b[d * columns + column];
          sum += product;
          size += std::abs(product);
        }
        const double found = c[row * columns + column];
        const double error = std::isfinite(found) ? std::abs(found - sum) : HUGE_VAL;
        worst = std::max(worst, error / size);
        squares += error * error;
        norm += sum * sum;
      }
    }
    return {worst, std::sqrt(squares / norm)};
  }
};

// What is left out of a product at most, and what float32 sums lose.
double Worst(int terms, int64_t depth) {
  const double left_out = terms == 2 ? 3 * std::ldexp(1.0, -16) : std::ldexp(1.0, -21);
  return left_out + std::ldexp(static_cast<double>(depth) + 8, -24);
}

void TestShapes() {
  ThreadPool pool(3);
  uint32_t seed = 0;
  for (const int terms : {2, 3}) {
    for (const int64_t rows : {1, 16, 31, 33, 70}) {
      for (const int64_t depth : {1, 15, 32, 49, 200}) {
        for (const int64_t columns : {1, 16, 17, 32, 47, 100}) {
          Problem problem(rows, depth, columns, ++seed);
          problem.Run(terms, pool);
          CHECK(problem.Errors().first <= Worst(terms, depth));
        }
      }
    }
    // Sizes of the abstractor's, and depths that take several parts.
    for (const int64_t depth : {1024, 1537, 2816, 4100}) {
      Problem large(129, depth, 97, ++seed);
      large.Run(terms, pool);
      CHECK(large.Errors().first <= Worst(terms, depth));
      CHECK(large.Errors().second < (terms == 2 ? 6e-6 : 1e-6));
    }
    for (const int64_t rows : {1024, 1025, 2056}) {
      Problem many(rows, 70, 33, ++seed);
      many.Run(terms, pool);
      CHECK(many.Errors().first <= Worst(terms, 70));
    }
  }
}

// Values of all sizes, in rows and columns of all sizes.
void TestSpread() {
  ThreadPool pool(2);
  Problem problem(40, 64, 40, 5);
  for (int64_t i = 0; i < 40 * 64; ++i) {
    problem.a[i] *= std::ldexp(1.0f, static_cast<int>(i * 37 % 41 - 20) + static_cast<int>(i / 64));
    problem.b[i] *= std::ldexp(1.0f, static_cast<int>(i * 23 % 41 - 20) - static_cast<int>(i % 40));
  }
  for (const int terms : {2, 3}) {
    problem.Run(terms, pool);
    CHECK(problem.Errors().first <= Worst(terms, 64));
  }
}

// Integers of 24 bits come out exactly where the three terms hold them and the sums are exact.
void TestBf16x3IsExact() {
  ThreadPool pool(1);
  Problem problem(3, 1, 5, 1);
  for (float& value : problem.a) value = 16777213.0f;  // no bit of it is zero but one
  for (float& value : problem.b) value = 1.0f;
  problem.Run(3, pool);
  for (const float value : problem.c) CHECK(value == 16777213.0f);
}

// A row's bits depend neither on the other rows nor on the threads nor on where the result lies.
void TestSameBits(int64_t rows, int64_t depth) {
  ThreadPool one(1);
  ThreadPool three(3);
  Problem all(rows, depth, 1632, 9);  // written past the caches where it can be
  const std::unique_ptr<void, Free> aligned(std::aligned_alloc(64, all.c.size() * sizeof(float)));
  std::vector<float> shifted(all.c.size() + 1);
  for (const int terms : {2, 3}) {
    all.Run(terms, three);
    auto* const to = static_cast<float*>(aligned.get());
    all.RunTo(to, terms, one);
    CHECK(std::memcmp(to, all.c.data(), all.c.size() * sizeof(float)) == 0);
    all.RunTo(shifted.data() + 1, terms, three);
    CHECK(std::memcmp(shifted.data() + 1, to, all.c.size() * sizeof(float)) == 0);

    for (const int64_t row : {int64_t{0}, rows / 2, rows - 1}) {
      Problem single = all;
      single.rows = 1;
      single.a.assign(all.a.begin() + row * depth, all.a.begin() + (row + 1) * depth);
      single.c.assign(1632, 0.0f);
      single.Run(terms, three);
      CHECK(std::equal(single.c.begin(), single.c.end(), to + row * 1632));
    }
  }
}

float FromBits(uint32_t bits) {
  float value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

void TestNotFinite() {
  ThreadPool pool(2);
  for (const uint32_t bits : {0x7F800000u, 0xFF800000u, 0x7FC00000u, 0x7F800001u, 0xFFFFFFFFu}) {
    for (const int terms : {2, 3}) {
      Problem problem(20, 40, 20, bits);
      problem.a[7 * 40 + 33] = FromBits(bits);
      problem.Run(terms, pool);
      for (int64_t i = 0; i < 400; ++i) CHECK(std::isfinite(problem.c[i]) == (i / 20 != 7));
      problem.a[7 * 40 + 33] = 1.0f;
      problem.b[33 * 20 + 5] = FromBits(bits);
      problem.Run(terms, pool);
      for (int64_t i = 0; i < 400; ++i) CHECK(std::isfinite(problem.c[i]) == (i % 20 != 5));
    }
  }
}

void TestNothing() {
  ThreadPool pool(2);
  Problem problem(0, 8, 8, 1);
  problem.Run(3, pool);
  Problem empty(4, 0, 8, 1);
  empty.Run(3, pool);
  for (const float value : empty.c) CHECK(value == 0.0f);
}

}  // namespace

int main() {
  if (!Available(Isa::kAmx)) {
    std::cerr << "amx: skipped, not on this processor\n";
    return g4v::test::kSkip;
  }
  TestShapes();
  TestSpread();
  TestBf16x3IsExact();
  TestSameBits(700, 1024);  // in chunks of the rows
  TestSameBits(257, 1024);  // in two parts of the depth, where a single row takes one
  TestSameBits(700, 1600);  // in parts and in chunks
  TestSameBits(1100, 256);  // one product after another
  TestNotFinite();
  TestNothing();
  return g4v::test::Finish();
}

#else

int main() {
  std::cerr << "amx: skipped, not in this build\n";
  return g4v::test::kSkip;
}

#endif
