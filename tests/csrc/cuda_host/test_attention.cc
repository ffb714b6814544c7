// The CUDA kernels, run on the CPU, against float64.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <string>
#include <vector>

#include "check.h"
#include "cuda_host/attention.h"
#include "cuda_host/expect.h"
#include "cuda_host/simulator.h"

namespace g4v::cuda_host {
namespace {

using kernels::DType;
using kernels::kHeadSizes;
using kernels::cuda::Gpu;
using kernels::cuda::Kernel;
using kernels::cuda::MakePlan;
using kernels::cuda::Plan;

constexpr Gpu kSmall = {80, 8, 166912};  // few processors: small problems are split a little
constexpr Gpu kOld = {75, 40, 65536};

void TestHeadSizes() {
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    for (const int64_t head_size : kHeadSizes) {
      const Shape shape = {dtype, 1, 2, 20, 20, 150, head_size};
      for (const bool interleaved : {false, true}) {
        Problem problem(shape, Values::kNormal, static_cast<uint64_t>(head_size), interleaved);
        const Plan plan = WithSplits(problem, kSmall, interleaved ? 3 : 1);
        CHECK(plan.kernel == (dtype == DType::kFloat32 ? Kernel::kPlain : Kernel::kTensorCore));
        Expect(problem, plan, Name(shape, plan));
      }
    }
  }
}

// Every tail of queries and keys: none, one, around the units, tiles and blocks.
void TestTails() {
  const int64_t tails[][3] = {{0, 0, 64},  {1, 0, 0},     {3, 0, 1},   {17, 1, 0},
                              {16, 1, 1},  {15, 0, 16},   {5, 5, 59},  {33, 33, 31},
                              {7, 0, 64},  {9, 0, 65},    {2, 64, 64}, {6, 63, 1},
                              {4, 0, 257}, {12, 12, 180}, {1, 0, 192}, {129, 0, 40}};
  for (const DType dtype : {DType::kBFloat16, DType::kFloat32}) {
    for (const auto& [queries, own, memory] : tails) {
      if (dtype == DType::kFloat32 && queries > 100) continue;  // the plain kernel is slow here
      const Shape shape = {dtype, 1, 1, queries, own, memory, 32};
      Problem problem(shape, Values::kNormal, 5);
      for (const int32_t splits : {1, 3}) {
        const Plan plan = WithSplits(problem, kSmall, splits);
        if (queries == 0) {
          CHECK(MakePlan(problem.params, kSmall).blocks == 0);
          Run(problem, MakePlan(problem.params, kSmall));
          CHECK(problem.GuardsAreWhole());
        } else {
          Expect(problem, plan, Name(shape, plan));
        }
      }
    }
  }
}

void TestNoKeysGiveZeros() {
  for (const DType dtype : {DType::kFloat32, DType::kFloat16}) {
    Problem problem({dtype, 2, 1, 5, 0, 40, 64}, Values::kNormal, 2);
    problem.UseLengths({0, 40});
    for (const int32_t splits : {1, 4}) {
      const auto out = Run(problem, WithSplits(problem, kSmall, splits));
      CHECK(std::all_of(out.begin(), out.begin() + 5 * 64, [](double x) { return x == 0.0; }));
      CHECK(ErrorOf(problem).ours <= ErrorOf(problem).allowed);
    }
  }
}

// Rows behind mem_len are never used: they are NaNs here.
void TestLengths() {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const Shape shape = {dtype, 4, 1, 9, 6, 140, 64};
    Problem problem(shape, Values::kNormal, 11, true);
    problem.UseLengths({140, 0, 64, 77});
    for (int64_t b = 0; b < 4; ++b) {
      for (int64_t j = problem.mem_len[static_cast<size_t>(b)]; j < 140; ++j) {
        problem.PoisonMemoryRow(b, 0, j);
      }
    }
    for (const int32_t splits : {1, 3}) {
      const Plan plan = WithSplits(problem, kSmall, splits);
      Expect(problem, plan, "mem_len, " + Name(shape, plan));
    }
    problem.UseLengths({140, -3, 1000, 77});  // clamped; rows 64 .. of batch 2 are NaNs
    const auto out = Run(problem, WithSplits(problem, kSmall, 2));
    CHECK(std::isnan(out[2 * 9 * 64]) && !std::isnan(out[9 * 64]));
  }
}

void TestAdversarial() {
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    for (const Values values :
         {Values::kLargeLogits, Values::kOneHot, Values::kEqual, Values::kGrowing}) {
      const Shape shape = {dtype, 1, 1, 20, 20, 190, 64};
      Problem problem(shape, values, 17);
      for (const int32_t splits : {1, 4}) {
        const Plan plan = WithSplits(problem, kSmall, splits);
        Expect(problem, plan,
               "values " + std::to_string(static_cast<int>(values)) + ", " + Name(shape, plan));
      }
    }
  }
}

void TestScales() {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const float scale : {-0.125f, 0.0f, 1.0f, 3e4f, -1e6f}) {
      const Shape shape = {dtype, 1, 1, 9, 0, 75, 64};
      Problem problem(shape, Values::kNormal, 23);
      problem.params.scale = scale;
      for (const int32_t splits : {1, 3}) {
        const Plan plan = WithSplits(problem, kSmall, splits);
        Expect(problem, plan, "scale " + std::to_string(scale) + ", " + Name(shape, plan));
      }
    }
  }
}

// 16-bit types without tensor cores, and views that are no multiple of 16 bytes.
void TestPlainKernelWith16Bits() {
  for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
    const Shape shape = {dtype, 1, 2, 6, 6, 50, 80};
    Problem old(shape, Values::kNormal, 31);
    const Plan old_plan = WithSplits(old, kOld, 2);
    CHECK(old_plan.kernel == Kernel::kPlain);
    Expect(old, old_plan, "sm_75, " + Name(shape, old_plan));
    Problem misaligned(shape, Values::kNormal, 37, true, 3);
    const Plan plan = WithSplits(misaligned, kSmall, 2);
    CHECK(plan.kernel == Kernel::kPlain);
    Expect(misaligned, plan, "misaligned, " + Name(shape, plan));
  }
}

// Strides of either sign: the memory's rows from the last to the first, which changes no result.
void TestNegativeStrides() {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const Shape shape = {dtype, 1, 2, 6, 6, 70, 32};
    Problem problem(shape, Values::kNormal, 53);
    for (auto* rows : {&problem.params.k_mem, &problem.params.v_mem}) {
      const auto bytes =
          (shape.memory_rows - 1) * rows->row * static_cast<int64_t>(SizeOf(shape.dtype));
      rows->data = static_cast<const unsigned char*>(rows->data) + bytes;
      rows->row = -rows->row;
    }
    const Plan plan = WithSplits(problem, kSmall, 2);
    Expect(problem, plan, "negative strides, " + Name(shape, plan));
  }
}

// The bits do not depend on the order in which blocks and warps run.
void TestRepeatable() {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    Problem problem({dtype, 1, 1, 20, 20, 250, 64}, Values::kNormal, 41);
    const Plan plan = WithSplits(problem, kSmall, 5);
    const auto first = Run(problem, plan, 1);
    for (const uint64_t seed : {2, 3}) CHECK(Run(problem, plan, seed) == first);
  }
}

// The real shape's own plan, one head of it.
void TestAbstractorShape() {
  Problem problem({DType::kBFloat16, 1, 1, 128, 128, 2056, 64}, Values::kNormal, 43, true);
  auto params = problem.params;
  params.heads = 16;
  const Plan whole = MakePlan(params, {90, 132, 232448});
  CHECK(whole.splits == 8);
  const Plan plan = WithSplits(problem, {90, 132, 232448}, whole.splits);
  Expect(problem, plan, "abstractor");
}

}  // namespace
}  // namespace g4v::cuda_host

int main() {
  using namespace g4v::cuda_host;
  TestHeadSizes();
  TestTails();
  TestNoKeysGiveZeros();
  TestLengths();
  TestAdversarial();
  TestScales();
  TestPlainKernelWith16Bits();
  TestNegativeStrides();
  TestRepeatable();
  TestAbstractorShape();
  CHECK(Count().matrix_loads > 0 && Count().bank_conflicts == 0);
  return g4v::test::Finish();
}
