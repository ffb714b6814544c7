// The attention on the CPU: every instruction set against the formula in double precision; the
// conversions to 16 bits, and the threads that kernels run on.
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/float16.h"
#include "kernels/cpu/thread_pool.h"

namespace {

using namespace g4v::kernels;

// Operands in buffers of exactly their size, so that AddressSanitizer sees a step outside; keys and
// values are interleaved in one buffer as the product for several layers leaves them.
struct Problem {
  CrossAttentionParams params;
  std::vector<float> q, own, memory, out;
  std::vector<int32_t> lengths;

  Problem(int64_t batch, int64_t heads, int64_t queries, int64_t rows, int64_t size, bool with_own,
          uint32_t seed)
      : q(static_cast<size_t>(batch * heads * queries * size)),
        own(2 * q.size()),
        memory(static_cast<size_t>(2 * batch * heads * rows * size)),
        out(q.size(), std::numeric_limits<float>::quiet_NaN()),
        lengths(static_cast<size_t>(batch)) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (std::vector<float>* values : {&q, &own, &memory}) {
      for (float& value : *values) value = normal(random);
    }
    for (int32_t& length : lengths) length = static_cast<int32_t>(random() % (rows + 1));
    const int64_t width = heads * size;
    params.batch = batch;
    params.heads = heads;
    params.queries = queries;
    params.own_rows = with_own ? queries : 0;
    params.memory_rows = rows;
    params.head_size = size;
    params.scale = 1.0f / std::sqrt(static_cast<float>(size));
    params.q = {q.data(), queries * width, size, width};
    params.k_own = {own.data(), 2 * queries * width, size, 2 * width};
    params.v_own = {own.data() + width, 2 * queries * width, size, 2 * width};
    params.k_mem = {memory.data(), 2 * rows * width, size, 2 * width};
    params.v_mem = {memory.data() + width, 2 * rows * width, size, 2 * width};
    params.mem_len = lengths.data();
    params.out = {out.data(), queries * width, size, width};
  }
};

const float* At(const ConstRows& rows, int64_t b, int64_t h, int64_t row) {
  return static_cast<const float*>(rows.data) + b * rows.batch + h * rows.head + row * rows.row;
}

// The largest difference from the formula in double precision, over the largest expected value.
double Error(const Problem& problem) {
  const CrossAttentionParams& p = problem.params;
  double worst = 0;
  double largest = 1e-30;
  for (int64_t index = 0; index < p.batch * p.heads * p.queries; ++index) {
    const int64_t b = index / (p.heads * p.queries);
    const int64_t h = index / p.queries % p.heads;
    const float* q = At(p.q, b, h, index % p.queries);
    std::vector<double> scores;
    std::vector<const float*> values;
    double top = -std::numeric_limits<double>::infinity();
    for (int64_t j = 0; j < p.own_rows + p.mem_len[b]; ++j) {
      const bool own = j < p.own_rows;
      const float* k = own ? At(p.k_own, b, h, j) : At(p.k_mem, b, h, j - p.own_rows);
      values.push_back(own ? At(p.v_own, b, h, j) : At(p.v_mem, b, h, j - p.own_rows));
      double score = 0;
      for (int64_t d = 0; d < p.head_size; ++d) score += static_cast<double>(q[d]) * k[d];
      scores.push_back(score * p.scale);
      top = std::max(top, scores.back());
    }
    double total = 0;
    for (double& score : scores) total += score = std::exp(score - top);
    const ConstRows out{p.out.data, p.out.batch, p.out.head, p.out.row};
    for (int64_t d = 0; d < p.head_size; ++d) {
      double expected = 0;
      for (size_t j = 0; j < scores.size(); ++j) expected += scores[j] / total * values[j][d];
      const double difference = std::abs(At(out, b, h, index % p.queries)[d] - expected);
      worst = std::isnan(difference) ? 1e30 : std::max(worst, difference);
      largest = std::max(largest, std::abs(expected));
    }
  }
  return worst / largest;
}

void Run(Problem& problem, Parallel& parallel, Isa isa) {
  const size_t bytes = CpuWorkspaceSize(problem.params, parallel.threads(), isa);
  // malloc aligns to 16 bytes alone and ends where it says: the kernels may ask for no more.
  const std::unique_ptr<char[]> workspace(new char[bytes]);
  CrossAttentionCpu(problem.params, workspace.get(), parallel, isa);
}

// A problem's operands in bfloat16, its float32 ones rounded to the same values.
class Rounded {
 public:
  explicit Rounded(Problem& problem)
      : params(problem.params),
        problem_(problem),
        q_(Round(problem.q)),
        own_(Round(problem.own)),
        memory_(Round(problem.memory)),
        out_(problem.out.size(), 0x7FC0) {
    params.dtype = DType::kBFloat16;
    params.q.data = q_.data();
    params.k_own.data = own_.data();
    params.v_own.data = own_.data() + (values(params.v_own) - problem.own.data());
    params.k_mem.data = memory_.data();
    params.v_mem.data = memory_.data() + (values(params.v_mem) - problem.memory.data());
    params.out.data = out_.data();
  }

  const std::vector<uint16_t>& out() const { return out_; }

  // The largest error of what was computed.
  double Error() {
    for (size_t i = 0; i < out_.size(); ++i) problem_.out[i] = BFloat16ToFloat(out_[i]);
    return ::Error(problem_);
  }

  // The same of attention as it is written down, every step rounded to bfloat16.
  double PlainError() {
    const CrossAttentionParams& p = problem_.params;
    for (int64_t index = 0; index < p.batch * p.heads * p.queries; ++index) {
      const int64_t b = index / (p.heads * p.queries);
      const int64_t h = index / p.queries % p.heads;
      const int64_t row = index % p.queries;
      std::vector<float> weights;
      float top = std::numeric_limits<float>::lowest();
      for (int64_t j = 0; j < p.own_rows + p.mem_len[b]; ++j) {
        const bool own = j < p.own_rows;
        const float* k = own ? At(p.k_own, b, h, j) : At(p.k_mem, b, h, j - p.own_rows);
        float score = 0;
        for (int64_t d = 0; d < p.head_size; ++d) score += At(p.q, b, h, row)[d] * k[d];
        weights.push_back(Round(Round(score) * p.scale));
        top = std::max(top, weights.back());
      }
      float total = 0;
      for (float& weight : weights) total += weight = std::exp(weight - top);
      for (int64_t d = 0; d < p.head_size; ++d) {
        float sum = 0;
        for (size_t i = 0; i < weights.size(); ++i) {
          const auto j = static_cast<int64_t>(i);
          const bool own = j < p.own_rows;
          const float* v = own ? At(p.v_own, b, h, j) : At(p.v_mem, b, h, j - p.own_rows);
          sum += Round(weights[i] / total) * v[d];
        }
        problem_.out[static_cast<size_t>(b * p.out.batch + h * p.out.head + row * p.out.row + d)] =
            Round(sum);
      }
    }
    return ::Error(problem_);
  }

  CrossAttentionParams params;

 private:
  static float Round(float value) { return BFloat16ToFloat(FloatToBFloat16(value)); }
  static std::vector<uint16_t> Round(std::vector<float>& values) {
    std::vector<uint16_t> rounded;
    for (float& value : values) {
      rounded.push_back(FloatToBFloat16(value));
      value = Round(value);
    }
    return rounded;
  }
  static const float* values(const ConstRows& rows) { return static_cast<const float*>(rows.data); }

  Problem& problem_;
  std::vector<uint16_t> q_, own_, memory_, out_;
};

void Run(Rounded& rounded, Parallel& parallel, Isa isa) {
  const size_t bytes = CpuWorkspaceSize(rounded.params, parallel.threads(), isa);
  const std::unique_ptr<char[]> workspace(new char[bytes]);
  CrossAttentionCpu(rounded.params, workspace.get(), parallel, isa);
}

bool Here(Isa isa) {
  if (!Available(isa)) std::cerr << Name(isa) << ": skipped, not on this processor\n";
  return Available(isa);
}

// Sizes of an empty tensor may have a product that is larger than any number.
void TestLargeSizes() {
  CrossAttentionParams params;
  params.head_size = 64;
  params.batch = params.heads = int64_t{1} << 40;
  CHECK(CheckCrossAttention(params) == nullptr);
  params.queries = 1;
  CHECK(CheckCrossAttention(params) != nullptr);  // nothing is there to read
}

void TestVersions(ThreadPool& pool) {
  uint32_t seed = 1;
  for (const Isa isa : kIsas) {
    if (!Here(isa)) continue;
    for (const int64_t size : kHeadSizes) {
      for (const int64_t queries : g4v::test::Sizes({1, 7, 16, 65, 129})) {
        for (const int64_t rows : g4v::test::Sizes({0, 1, 64, 131})) {
          Problem problem(2, 3, queries, rows, size, seed % 3 != 0, seed);
          ++seed;
          CHECK(CheckCrossAttention(problem.params) == nullptr);
          Run(problem, pool, isa);
          CHECK(Error(problem) < 1e-5);
        }
      }
    }
    // One head and a long memory: the keys are split.
    Problem split(1, 1, 64, 2056, 64, true, 7);
    split.lengths[0] = 2051;
    Run(split, pool, isa);
    CHECK(Error(split) < 1e-5);
    const std::vector<float> first = split.out;
    Run(split, pool, isa);
    CHECK(std::memcmp(first.data(), split.out.data(), first.size() * sizeof(float)) == 0);
  }
}

// Tasks of several heads, whose rows are prefetched for one another, over several blocks of keys that
// end at no multiple of anything; other numbers in every run.
void TestGroups() {
  const uint32_t seed = std::random_device()();
  ThreadPool pool(2);
  for (const Isa isa : kIsas) {
    if (!Here(isa)) continue;
    for (const int64_t size : kHeadSizes) {
      for (const int64_t queries : {3, 121}) {
        Problem problem(2, 8, queries, 257 + static_cast<int64_t>(seed % 61), size, true, seed);
        problem.lengths[1] = static_cast<int32_t>(problem.params.memory_rows);
        Run(problem, pool, isa);
        const double error = Error(problem);
        CHECK(error < 1e-5);
        if (!(error < 1e-5))
          std::cerr << Name(isa) << ", head size " << size << ", seed " << seed << "\n";
      }
    }
  }
}

// No block of keys counts more than another: equal scores, and values of 1 in the first half of a long
// memory, of -1 in the second. A factor of 1 + 2^-23 for each block would leave 8e-6.
void TestLongMemory(ThreadPool& pool) {
  for (const Isa isa : kIsas) {
    if (!Here(isa)) continue;
    Problem problem(1, 8, 17, 8224, 32, false, 8);
    problem.lengths[0] = 8224;
    for (float& value : problem.q) value = 0;
    for (size_t i = 0; i < problem.memory.size(); ++i) {
      problem.memory[i] = 2 * i < problem.memory.size() ? 1.0f : -1.0f;
    }
    Run(problem, pool, isa);
    for (const float value : problem.out) CHECK(std::abs(value) < 1e-7f);
  }
}

void CheckRounded(Problem& problem, Parallel& parallel, Isa isa) {
  Rounded rounded(problem);
  Run(rounded, parallel, isa);
  const double error = rounded.Error();
  CHECK(error <= 2 * rounded.PlainError() + 1e-6);
}

void TestBFloat16(ThreadPool& pool) {
  uint32_t seed = 1;
  for (const Isa isa : kIsas) {
    if (!Here(isa)) continue;
    for (const int64_t size : kHeadSizes) {
      for (const int64_t queries : g4v::test::Sizes({1, 16, 17, 33, 129})) {
        for (const int64_t rows : g4v::test::Sizes({0, 1, 31, 64, 131, 300})) {
          Problem problem(2, 2, queries, rows, size, seed % 3 != 0, seed);
          ++seed;
          CheckRounded(problem, pool, isa);
        }
      }
    }
    Problem large(1, 2, 40, 300, 64, true, 3);  // one key has nearly all the weight
    for (float& value : large.q) value *= 40;
    CheckRounded(large, pool, isa);
    Problem equal(1, 2, 40, 300, 80, true, 4);
    for (float& value : equal.q) value = 0;
    CheckRounded(equal, pool, isa);
    // Scores that rise from key to key, by 1 and by 100 a row: no maximum holds for long.
    for (const float slope : {1.0f, 100.0f, -1.0f, -100.0f}) {
      Problem rising(1, 2, 40, 300, 32, false, 5);
      for (float& value : rising.q) value = 0.25f;
      for (int64_t h = 0; h < 2; ++h) {
        for (int64_t j = 0; j < 300; ++j) {
          float* k = const_cast<float*>(At(rising.params.k_mem, 0, h, j));
          for (int64_t d = 0; d < 32; ++d) k[d] = slope * static_cast<float>(j);
        }
      }
      rising.params.scale = slope < 0 ? -0.125f : 0.125f;
      CheckRounded(rising, pool, isa);
    }
    // What is no number stays none, and in its own query and head.
    Problem broken(1, 2, 20, 200, 64, false, 6);
    broken.lengths[0] = 200;
    const_cast<float*>(At(broken.params.k_mem, 0, 0, 150))[3] = std::nanf("");
    const_cast<float*>(At(broken.params.v_mem, 0, 1, 150))[3] = std::nanf("");
    Rounded rounded(broken);
    Run(rounded, pool, isa);
    for (int64_t row = 0; row < 20; ++row) {
      for (int64_t d = 0; d < 128; ++d) {
        const float value = BFloat16ToFloat(rounded.out()[static_cast<size_t>(row * 128 + d)]);
        CHECK(std::isnan(value) == (d < 64 || d == 67));
      }
    }
    // One head and a long memory: the keys are split.
    Problem split(1, 1, 64, 2056, 64, true, 7);
    split.lengths[0] = 2051;
    Rounded first(split);
    Run(first, pool, isa);
    Rounded second(split);
    Run(second, pool, isa);
    CHECK(first.out() == second.out());
    CheckRounded(split, pool, isa);
  }
}

void TestHalves() {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float wide = Float16ToFloat(half);
    if (!std::isnan(wide)) CHECK(FloatToFloat16(wide) == half);
    const float brain = BFloat16ToFloat(half);
    if (!std::isnan(brain)) CHECK(FloatToBFloat16(brain) == half);
  }
  CHECK(std::isnan(Float16ToFloat(FloatToFloat16(std::nanf("")))));
  CHECK(std::isnan(BFloat16ToFloat(FloatToBFloat16(std::nanf("")))));
  CHECK(FloatToFloat16(65519.996f) == 0x7BFF);
  CHECK(FloatToFloat16(65520.0f) == 0x7C00);
  CHECK(FloatToFloat16(1.0f + 0x1p-11f) == 0x3C00);            // a tie goes to the even one
  CHECK(FloatToFloat16(1.0f + 3 * 0x1p-11f) == 0x3C02);        //
  CHECK(FloatToFloat16(0x1p-25f) == 0);                        // also among subnormals
  CHECK(FloatToFloat16(std::nextafter(0x1p-25f, 1.0f)) == 1);  //
  CHECK(FloatToBFloat16(1.0f + 0x1p-8f) == 0x3F80);            //
  CHECK(FloatToBFloat16(std::nextafter(1.0f + 0x1p-8f, 2.0f)) == 0x3F81);
}

void TestThreads() {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    CHECK(pool.threads() == threads);
    for (int64_t count : {0, 1, 2, 100}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
      const auto task = [](void* context, int64_t index) {
        ++(*static_cast<std::vector<std::atomic<int>>*>(context))[static_cast<size_t>(index)];
      };
      pool.Run(count, task, &hits);
      for (const std::atomic<int>& hit : hits) CHECK(hit == 1);
    }
  }
  // Callers take turns.
  ThreadPool pool(3);
  std::vector<std::thread> callers;
  std::atomic<int64_t> sum{0};
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 50; ++repeat) {
        pool.Run(
            10, [](void* to, int64_t index) { *static_cast<std::atomic<int64_t>*>(to) += index; },
            &sum);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(sum == 4 * 50 * 45);
}

}  // namespace

int main() {
  TestHalves();
  TestThreads();
  ThreadPool pool(3);
  TestLargeSizes();
  TestVersions(pool);
  TestGroups();
  TestLongMemory(pool);
  TestBFloat16(pool);
  return g4v::test::Finish();
}
