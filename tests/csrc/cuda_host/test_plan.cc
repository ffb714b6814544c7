// What calls are planned to do, and the index arithmetic of splitting.
#include <algorithm>
#include <string>
#include <vector>

#include "check.h"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/split.h"

namespace g4v::kernels::cuda {
namespace {

constexpr Gpu kH200 = {90, 132, 232448};
constexpr Gpu kA100 = {80, 108, 166912};
constexpr Gpu kRtx4090 = {89, 128, 101376};
constexpr Gpu kT4 = {75, 40, 65536};

CrossAttentionParams Abstractor(int64_t batch, int64_t frames, DType dtype = DType::kBFloat16) {
  CrossAttentionParams p;
  p.dtype = dtype;
  p.batch = batch;
  p.heads = 16;
  p.queries = p.own_rows = 128;
  p.memory_rows = 257 * frames;
  p.head_size = 64;
  return p;
}

void TestKernelChoice() {
  CrossAttentionParams p = Abstractor(1, 8);
  for (const Gpu& gpu : {kH200, kA100, kRtx4090}) {
    for (const int64_t head_size : kHeadSizes) {
      p.head_size = head_size;
      CHECK(MakePlan(p, gpu).kernel == Kernel::kTensorCore);
      CHECK(MakePlan(p, gpu).shared_bytes <= gpu.shared_bytes_per_block);
    }
  }
  CHECK(MakePlan(p, kT4).kernel == Kernel::kPlain);
  CHECK(MakePlan(Abstractor(1, 8, DType::kFloat16), kT4).kernel == Kernel::kPlain);
  CHECK(MakePlan(Abstractor(1, 8, DType::kFloat16), kA100).kernel == Kernel::kTensorCore);
  CHECK(MakePlan(Abstractor(1, 8, DType::kFloat32), kH200).kernel == Kernel::kPlain);
  for (const int64_t head_size : kHeadSizes) {  // no opt-in is needed anywhere
    p.head_size = head_size;
    CHECK(MakePlan(p, kT4).shared_bytes <= 48 * 1024);
  }
}

// A kernel of the caller's choice is taken or refused, and the wgmma kernel is nobody else's.
void TestKernelOfTheCallersChoice() {
  Gpu hopper = kH200;
  hopper.has_warpgroup_kernels = true;
  const auto wanted = [](Kernel kernel) { return static_cast<int32_t>(kernel); };
  CrossAttentionParams p = Abstractor(1, 8);
  CHECK(MakePlan(p, hopper).kernel == Kernel::kTensorCore);
  for (const Kernel kernel : {Kernel::kPlain, Kernel::kTensorCore, Kernel::kWarpgroup}) {
    const Plan plan = MakePlan(p, hopper, wanted(kernel));
    CHECK(!plan.error && plan.kernel == kernel && ThreadsOf(kernel) % kWarpSize == 0);
  }
  const Plan plan = MakePlan(p, hopper, wanted(Kernel::kWarpgroup));
  CHECK(plan.splits == 8 && plan.blocks == 128 && ThreadsOf(plan.kernel) == 256);
  CHECK(plan.workspace_bytes == MakePlan(p, hopper).workspace_bytes);
  for (const int64_t head_size : kHeadSizes) {
    p.head_size = head_size;
    const Plan any = MakePlan(p, hopper, wanted(Kernel::kWarpgroup));
    CHECK((any.error == nullptr) == (head_size % 64 == 0));
    CHECK(any.shared_bytes <= hopper.shared_bytes_per_block);
  }
  p = Abstractor(1, 8);
  for (const Gpu& gpu : {kH200, kA100, kRtx4090, kT4}) {  // without its code
    CHECK(MakePlan(p, gpu, wanted(Kernel::kWarpgroup)).error);
  }
  CHECK(MakePlan(p, kT4, wanted(Kernel::kTensorCore)).error);
  CHECK(MakePlan(p, kT4, wanted(Kernel::kPlain)).kernel == Kernel::kPlain);
  CHECK(MakePlan(p, hopper, 3).error && MakePlan(p, hopper, -2).error);
  CHECK(MakePlan(Abstractor(1, 8, DType::kFloat32), hopper, wanted(Kernel::kWarpgroup)).error);
}

void TestAlignment() {
  alignas(16) static uint16_t memory[64];
  const auto kernel = [](const CrossAttentionParams& p) { return MakePlan(p, kH200).kernel; };
  CrossAttentionParams p = Abstractor(1, 8);
  p.k_mem = {memory, 0, 64, 6144};
  CHECK(kernel(p) == Kernel::kTensorCore);
  p.k_mem.row = 6148;  // 8 bytes
  CHECK(kernel(p) == Kernel::kPlain);
  p.k_mem.row = 6144;
  p.k_mem.data = memory + 4;
  CHECK(kernel(p) == Kernel::kPlain);
  p.k_mem.data = memory + 8;
  p.k_mem.batch = 3;  // never used: the batch is 1
  CHECK(kernel(p) == Kernel::kTensorCore);
  p.batch = 2;
  CHECK(kernel(p) == Kernel::kPlain);
  p = Abstractor(1, 8);
  p.out = {memory + 2, 0, 64, 64};
  CHECK(kernel(p) == Kernel::kPlain);
  p = Abstractor(1, 8);
  p.own_rows = 0;
  p.k_own = {memory + 1, 0, 0, 1};  // never read
  CHECK(kernel(p) == Kernel::kTensorCore);
}

void TestSplits() {
  // 16 blocks for a whole H200 without splitting; 8 splits give 128 of its 132 processors a block.
  const Plan plan = MakePlan(Abstractor(1, 8), kH200);
  CHECK(plan.splits == 8 && plan.blocks == 128 && plan.query_tiles == 1);
  const int64_t rows = 16 * 128;
  CHECK(plan.stats_offset == 8 * rows * 64 * 4);
  CHECK(plan.workspace_bytes == 8 * rows * (64 + 2) * 4);
  CHECK(plan.stats_offset % kWorkspaceAlignment == 0);
  CHECK(plan.merge_blocks == rows * 16 / 256);
  // Enough heads: no split, no merge, no workspace.
  const Plan many = MakePlan(Abstractor(16, 8), kH200);
  CHECK(many.splits == 1 && many.workspace_bytes == 0 && many.merge_blocks == 0);
  // No more splits than groups of 16 keys, one where there are no keys at all.
  for (int64_t keys : {0, 1, 16, 17, 100}) {
    CrossAttentionParams p = Abstractor(1, 0);
    p.heads = 1;
    p.own_rows = 0;
    p.memory_rows = keys;
    const Plan few = MakePlan(p, kH200);
    CHECK(few.splits >= 1 && few.splits <= std::max<int64_t>(1, (keys + 15) / 16));
  }
  for (const int64_t frames : {1, 2, 8, 32, 1024}) {
    for (const Gpu& gpu : {kH200, kA100, kRtx4090, kT4}) {
      for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
        const Plan any = MakePlan(Abstractor(1, frames, dtype), gpu);
        CHECK(!any.error && any.splits >= 1 && any.splits <= kMaxSplits);
        CHECK((any.workspace_bytes > 0) == (any.splits > 1) && any.blocks > 0);
      }
    }
  }
}

void TestEmptyAndTooLarge() {
  CrossAttentionParams p = Abstractor(0, 8);
  CHECK(MakePlan(p, kH200).blocks == 0 && !MakePlan(p, kH200).error);
  p = Abstractor(1, 8);
  p.queries = 0;
  CHECK(MakePlan(p, kH200).blocks == 0 && !MakePlan(p, kH200).error);
  p.queries = int64_t{1} << 31;
  CHECK(MakePlan(p, kH200).error);
  p = Abstractor(1, 8);
  p.memory_rows = int64_t{1} << 30;
  CHECK(MakePlan(p, kH200).error);
  p = Abstractor(int64_t{1} << 40, 8);
  CHECK(MakePlan(p, kH200).error);
  p = Abstractor(int64_t{1} << 20, 8);
  p.heads = 1 << 20;
  CHECK(MakePlan(p, kH200).error);
}

// Every key is in exactly one split, in order, in groups of 16, evenly.
void TestKeysOfSplit() {
  for (int32_t total = 0; total < 700; total += total < 70 ? 1 : 37) {
    for (int32_t splits : {1, 2, 3, 7, 8, 64}) {
      int32_t next = 0, longest = 0, shortest = 1 << 30;
      for (int32_t split = 0; split < splits; ++split) {
        const KeyRange range = KeysOfSplit(total, splits, split);
        CHECK(range.begin == next && range.end >= range.begin);
        CHECK(range.begin % kUnitKeys == 0 || range.begin == total);
        next = range.end;
        const int32_t units = (range.end - range.begin + kUnitKeys - 1) / kUnitKeys;
        longest = std::max(longest, units);
        shortest = std::min(shortest, units);
      }
      CHECK(next == total && longest - shortest <= 1);
    }
  }
}

void TestWorkOfBlock() {
  Launch launch;
  launch.p = Abstractor(3, 8);
  launch.p.heads = 5;
  launch.query_tiles = 2;
  launch.splits = 7;
  std::vector<int> seen(3 * 5 * 2 * 7, 0);
  for (int32_t block = 0; block < 3 * 5 * 2 * 7; ++block) {
    const BlockWork work = WorkOfBlock(launch, block);
    ++seen[static_cast<size_t>(((work.batch * 5 + work.head) * 2 + work.query_tile) * 7 +
                               work.split)];
  }
  CHECK(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }));
}

template <int kPieces>
void TestSharedPiece() {
  std::vector<int> seen(64 * kPieces, 0);
  for (int row = 0; row < 64; ++row) {
    for (int piece = 0; piece < kPieces; ++piece) {
      ++seen[static_cast<size_t>(SharedPiece<kPieces>(row, piece))];
    }
  }
  CHECK(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }));
  for (int row = 0; row < 64; row += 8) {
    for (int piece = 0; piece < kPieces; ++piece) {
      int groups = 0;
      for (int i = 0; i < 8; ++i) groups |= 1 << (SharedPiece<kPieces>(row + i, piece) % 8);
      CHECK(groups == 0xff);
    }
  }
}

void TestValidKeys() {
  CrossAttentionParams p = Abstractor(1, 8);
  CHECK(ValidKeys(p, 0) == 128 + 2056);
  const int32_t lengths[] = {-5, 0, 7, 2056, 9999};
  p.mem_len = lengths;
  const int32_t expected[] = {128, 128, 135, 2184, 2184};
  for (int32_t batch = 0; batch < 5; ++batch) CHECK(ValidKeys(p, batch) == expected[batch]);
}

}  // namespace
}  // namespace g4v::kernels::cuda

int main() {
  using namespace g4v::kernels::cuda;
  TestKernelChoice();
  TestKernelOfTheCallersChoice();
  TestAlignment();
  TestSplits();
  TestEmptyAndTooLarge();
  TestKeysOfSplit();
  TestWorkOfBlock();
  TestSharedPiece<4>();
  TestSharedPiece<8>();
  TestSharedPiece<10>();
  TestSharedPiece<12>();
  TestSharedPiece<16>();
  TestValidKeys();
  return g4v::test::Finish();
}
