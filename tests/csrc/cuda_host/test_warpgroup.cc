// The kernel of warpgroup.cuh, which no plan chooses, run on the CPU against float64.
#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>
#include <vector>

#include "check.h"
#include "cuda_host/attention.h"
#include "cuda_host/expect.h"
#include "kernels/cuda/matrix_layout.h"

namespace g4v::cuda_host {
namespace {

using kernels::DType;
using kernels::cuda::Gpu;
using kernels::cuda::Kernel;
using kernels::cuda::MakePlan;
using kernels::cuda::Plan;

constexpr Gpu kHopper = {90, 132, 232448, true};
constexpr auto kWanted = static_cast<int32_t>(Kernel::kWarpgroup);

Plan WithSplits(const Problem& problem, int32_t splits) {
  const Plan plan = cuda_host::WithSplits(problem, kHopper, splits, kWanted);
  CHECK(!plan.error && plan.kernel == Kernel::kWarpgroup);
  return plan;
}

// A tile holds every piece once, and eight rows of a column lie in eight groups of banks.
template <int kRows>
void TestLayout(int pieces) {
  std::vector<int> seen(static_cast<size_t>(kRows * pieces), 0);
  for (int row = 0; row < kRows; ++row) {
    for (int piece = 0; piece < pieces; ++piece) {
      const int32_t at = kernels::cuda::SwizzledOffset<kRows>(row, piece);
      CHECK(at % 16 == 0 && at / 16 < kRows * pieces);
      ++seen[static_cast<size_t>(at / 16)];
    }
  }
  CHECK(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }));
  for (int row = 0; row < kRows; row += 8) {
    int groups = 0;
    for (int i = 0; i < 8; ++i) {
      groups |= 1 << kernels::cuda::SwizzledOffset<kRows>(row + i, pieces - 1) / 16 % 8;
    }
    CHECK(groups == 0xff);
  }
}

void TestTypesAndHeadSizes() {
  for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
    for (const int64_t head_size : {64, 128}) {
      const Shape shape = {dtype, 1, 2, 100, 100, 300, head_size};
      for (const bool interleaved : {false, true}) {
        Problem problem(shape, Values::kNormal, static_cast<uint64_t>(head_size), interleaved);
        const Plan plan = WithSplits(problem, interleaved ? 3 : 1);
        Expect(problem, plan, Name(shape, plan));
      }
    }
  }
}

// The first tile with every number of keys, alone and with others behind it; queries around the
// warps, the warpgroups and the block.
void TestTails() {
  const int64_t tails[][3] = {{0, 0, 64},   {1, 0, 0},    {3, 0, 1},    {17, 1, 0},   {16, 0, 15},
                              {64, 0, 16},  {65, 0, 17},  {63, 5, 27},  {8, 33, 0},   {5, 0, 47},
                              {128, 0, 48}, {129, 0, 49}, {7, 0, 63},   {9, 0, 64},   {2, 64, 1},
                              {6, 63, 2},   {20, 0, 79},  {20, 40, 40}, {20, 0, 81},  {20, 60, 50},
                              {12, 0, 97},  {4, 100, 28}, {90, 90, 39}, {200, 7, 185}};
  for (const int64_t head_size : {64, 128}) {
    for (const auto& [queries, own, memory] : tails) {
      if (head_size == 128 && queries > 20) continue;  // as with 64
      const Shape shape = {DType::kBFloat16, 1, 1, queries, own, memory, head_size};
      Problem problem(shape, Values::kNormal, 5);
      if (queries == 0) {
        CHECK(MakePlan(problem.params, kHopper, kWanted).blocks == 0);
        continue;
      }
      for (const int32_t splits : {1, 3}) {
        const Plan plan = WithSplits(problem, splits);
        Expect(problem, plan, Name(shape, plan));
      }
    }
  }
}

// Longer than the stages: each is filled again, and tiles begin anywhere in the list.
void TestManyTiles() {
  for (const int64_t memory : {64 * 9, 64 * 9 + 1, 64 * 8 + 33}) {
    const Shape shape = {DType::kFloat16, 1, 1, 70, 70, memory, 64};
    Problem problem(shape, Values::kNormal, 61, true);
    for (const int32_t splits : {1, 2}) {
      const Plan plan = WithSplits(problem, splits);
      Expect(problem, plan, Name(shape, plan));
    }
  }
}

// No keys give zeros; rows behind mem_len are never used: they are NaNs here.
void TestLengths() {
  const Shape shape = {DType::kBFloat16, 5, 1, 9, 0, 140, 64};
  Problem problem(shape, Values::kNormal, 11, true);
  problem.UseLengths({140, 0, 64, 77, 3});
  for (int64_t b = 0; b < 5; ++b) {
    for (int64_t j = problem.mem_len[static_cast<size_t>(b)]; j < 140; ++j) {
      problem.PoisonMemoryRow(b, 0, j);
    }
  }
  for (const int32_t splits : {1, 3}) {
    const Plan plan = WithSplits(problem, splits);
    Expect(problem, plan, "mem_len, " + Name(shape, plan));
    const auto out = problem.Output();
    CHECK(std::all_of(out.begin() + 9 * 64, out.begin() + 2 * 9 * 64,
                      [](double x) { return x == 0.0; }));
  }
}

void TestAdversarial() {
  for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
    for (const Values values :
         {Values::kLargeLogits, Values::kOneHot, Values::kEqual, Values::kGrowing}) {
      const Shape shape = {dtype, 1, 1, 20, 20, 190, 64};
      Problem problem(shape, values, 17);
      for (const int32_t splits : {1, 4}) {
        const Plan plan = WithSplits(problem, splits);
        Expect(problem, plan,
               "values " + std::to_string(static_cast<int>(values)) + ", " + Name(shape, plan));
      }
    }
  }
}

void TestScalesAndNegativeStrides() {
  for (const float scale : {-0.125f, 0.0f, 1.0f, 3e4f, -1e6f}) {
    const Shape shape = {DType::kBFloat16, 1, 1, 9, 0, 75, 64};
    Problem problem(shape, Values::kNormal, 23);
    problem.params.scale = scale;
    const Plan plan = WithSplits(problem, 2);
    Expect(problem, plan, "scale " + std::to_string(scale) + ", " + Name(shape, plan));
  }
  const Shape shape = {DType::kBFloat16, 1, 2, 6, 6, 270, 64};
  Problem problem(shape, Values::kNormal, 53);
  for (auto* rows : {&problem.params.k_mem, &problem.params.v_mem}) {
    const auto bytes =
        (shape.memory_rows - 1) * rows->row * static_cast<int64_t>(SizeOf(shape.dtype));
    rows->data = static_cast<const unsigned char*>(rows->data) + bytes;
    rows->row = -rows->row;
  }
  const Plan plan = WithSplits(problem, 2);
  Expect(problem, plan, "negative strides, " + Name(shape, plan));
}

// The bits do not depend on the order in which blocks and warps run.
void TestRepeatable() {
  Problem problem({DType::kBFloat16, 1, 1, 80, 20, 450, 64}, Values::kNormal, 41);
  const Plan plan = WithSplits(problem, 3);
  const auto first = Run(problem, plan, 1);
  for (const uint64_t seed : {2, 3}) CHECK(Run(problem, plan, seed) == first);
}

// The real shape's own plan, one head of it: the own keys and the memory meet inside a tile.
void TestAbstractorShape() {
  Problem problem({DType::kBFloat16, 1, 1, 128, 128, 2056, 64}, Values::kNormal, 43, true);
  auto params = problem.params;
  params.heads = 16;
  const Plan whole = MakePlan(params, kHopper, kWanted);
  CHECK(whole.splits == 8 && whole.blocks == 128 && whole.shared_bytes == 64 * 1024);
  const Plan plan = WithSplits(problem, whole.splits);
  Expect(problem, plan, "abstractor");
}

}  // namespace
}  // namespace g4v::cuda_host

int main() {
  using namespace g4v::cuda_host;
  TestLayout<64>(8);
  TestLayout<64>(16);
  TestTypesAndHeadSizes();
  TestTails();
  TestManyTiles();
  TestLengths();
  TestAdversarial();
  TestScalesAndNegativeStrides();
  TestRepeatable();
  TestAbstractorShape();
  return g4v::test::Finish();
}
