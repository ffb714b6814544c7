// The twins of the GPU's instructions do what the PTX manual says, and the simulator finds what it
// is there to find. The kernels are not used here.
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "check.h"
#include "cuda_host/device.h"

namespace g4v::cuda_host {
namespace {

namespace cuda = kernels::cuda;

uint32_t Pair(float low, float high) { return cuda::PackPair<cuda::BFloat16>(low, high); }

void TestConversions() {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto narrow = static_cast<uint16_t>(bits);
    const float half = HalfToFloat(narrow);
    if (!std::isnan(half) && HalfFromFloat(half) != narrow) ++wrong;
    const float bfloat = BFloat16ToFloat(narrow);
    if (!std::isnan(bfloat) && BFloat16FromFloat(bfloat) != narrow) ++wrong;
  }
  CHECK(wrong == 0);
  CHECK(HalfToFloat(0x3c00) == 1.0f && HalfToFloat(0x0001) == 0x1p-24f);
  CHECK(HalfToFloat(0x7bff) == 65504.0f && std::isnan(HalfToFloat(0x7e00)));
  CHECK(HalfFromFloat(1.0f + 0x1p-11f) == 0x3c00);  // ties to even
  CHECK(HalfFromFloat(1.0f + 3 * 0x1p-11f) == 0x3c02);
  CHECK(HalfFromFloat(65519.0f) == 0x7bff && HalfFromFloat(65520.0f) == 0x7c00);
  CHECK(HalfFromFloat(0x1p-25f) == 0 && HalfFromFloat(0x1.8p-25f) == 1);
  CHECK(HalfFromFloat(-2.0f) == 0xc000);
  CHECK(BFloat16FromFloat(1.0f + 0x1p-8f) == 0x3f80);
  CHECK(BFloat16FromFloat(1.0f + 3 * 0x1p-8f) == 0x3f82);
  CHECK(std::isnan(BFloat16ToFloat(BFloat16FromFloat(NAN))));
}

// One element of a, b or c at a time: which lane and register hold it is typed from the figures of
// "Matrix fragments for mma.m16n8k16 with floating point type".
void TestMatrixFragments() {
  struct Cell {
    int lane, word, half, row, column;
  };
  const Cell a_cells[] = {{0, 0, 0, 0, 0},   {0, 0, 1, 0, 1},  {1, 0, 0, 0, 2},  {3, 0, 1, 0, 7},
                          {4, 0, 0, 1, 0},   {31, 0, 1, 7, 7}, {0, 1, 0, 8, 0},  {31, 1, 1, 15, 7},
                          {0, 2, 0, 0, 8},   {3, 2, 1, 0, 15}, {28, 2, 0, 7, 8}, {0, 3, 0, 8, 8},
                          {31, 3, 1, 15, 15}};
  const Cell b_cells[] = {{0, 0, 0, 0, 0}, {0, 0, 1, 1, 0},  {1, 0, 0, 2, 0}, {3, 0, 1, 7, 0},
                          {4, 0, 0, 0, 1}, {31, 0, 1, 7, 7}, {0, 1, 0, 8, 0}, {31, 1, 1, 15, 7}};
  for (const Cell& a : a_cells) {
    for (const Cell& b : b_cells) {
      float c[32][4];
      RunBlocks(
          {1, 32, 0},
          [&](unsigned char*) {
            const int lane = cuda::ThreadIndex();
            uint32_t left[4] = {}, right[2] = {};
            if (lane == a.lane) left[a.word] = a.half ? Pair(0, 3) : Pair(3, 0);
            if (lane == b.lane) right[b.word] = b.half ? Pair(0, 5) : Pair(5, 0);
            float sum[4] = {1, 1, 1, 1};
            cuda::MatrixMultiplyAdd<cuda::BFloat16>(sum, left, right[0], right[1]);
            std::memcpy(c[lane], sum, sizeof sum);
          },
          1);
      // 15 at (a.row, b.column) where the inner indices meet, else all ones.
      int others = 0;
      for (int lane = 0; lane < 32; ++lane) {
        for (int i = 0; i < 4; ++i) others += c[lane][i] != 1.0f;
      }
      const bool meet = a.column == b.row;
      const int lane = a.row % 8 * 4 + b.column / 2;
      const int i = (a.row >= 8 ? 2 : 0) + b.column % 2;
      CHECK(others == (meet ? 1 : 0));
      CHECK(!meet || c[lane][i] == 16.0f);
    }
  }
}

void TestMatrixProduct() {
  std::mt19937 random(3);
  std::uniform_int_distribution<int> small(-8, 8);
  float a[16][16], b[16][8], c[16][8] = {};
  for (auto& row : a) {
    for (float& value : row) value = static_cast<float>(small(random));
  }
  for (auto& row : b) {
    for (float& value : row) value = static_cast<float>(small(random));
  }
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      for (int k = 0; k < 16; ++k) c[i][j] += a[i][k] * b[k][j];
    }
  }
  int wrong = 0;
  RunBlocks(
      {1, 32, 0},
      [&](unsigned char*) {
        const int group = cuda::ThreadIndex() / 4, k = cuda::ThreadIndex() % 4 * 2;
        const auto pair = [](float x, float y) { return cuda::PackPair<cuda::Half>(x, y); };
        const uint32_t left[4] = {
            pair(a[group][k], a[group][k + 1]), pair(a[group + 8][k], a[group + 8][k + 1]),
            pair(a[group][k + 8], a[group][k + 9]), pair(a[group + 8][k + 8], a[group + 8][k + 9])};
        float sum[4] = {};
        cuda::MatrixMultiplyAdd<cuda::Half>(sum, left, pair(b[k][group], b[k + 1][group]),
                                            pair(b[k + 8][group], b[k + 9][group]));
        wrong += sum[0] != c[group][k] || sum[1] != c[group][k + 1];
        wrong += sum[2] != c[group + 8][k] || sum[3] != c[group + 8][k + 1];
      },
      1);
  CHECK(wrong == 0);
}

// Matrix i of the four lies at rows 8 i .. of a table of 32 rows of 8 elements; element (row,
// column) is 100 row + column.
void TestMatrixLoads() {
  int wrong = 0;
  for (const bool transposed : {false, true}) {
    RunBlocks(
        {1, 32, 32 * 16},
        [&](unsigned char* shared) {
          const int lane = cuda::ThreadIndex();
          auto* table = reinterpret_cast<uint16_t*>(shared);
          for (int i = 0; i < 8; ++i) {
            table[lane * 8 + i] = static_cast<uint16_t>(100 * lane + i);
          }
          cuda::SyncBlock();
          uint32_t registers[4];
          if (transposed) {
            cuda::LoadMatricesTransposed(registers, shared + lane * 16);
          } else {
            cuda::LoadMatrices(registers, shared + lane * 16);
          }
          for (int matrix = 0; matrix < 4; ++matrix) {
            for (int half = 0; half < 2; ++half) {
              const int row = transposed ? lane % 4 * 2 + half : lane / 4;
              const int column = transposed ? lane / 4 : lane % 4 * 2 + half;
              const uint32_t got = registers[matrix] >> (16 * half) & 0xffff;
              wrong += got != static_cast<uint32_t>(100 * (matrix * 8 + row) + column);
            }
          }
        },
        2);
  }
  CHECK(wrong == 0);
}

void TestBankConflicts() {
  const auto conflicts = [](int stride) {
    const int64_t before = Count().bank_conflicts;
    RunBlocks(
        {1, 32, static_cast<size_t>(32 * stride)},
        [&](unsigned char* shared) {
          uint32_t registers[4];
          cuda::LoadMatrices(registers, shared + cuda::ThreadIndex() * stride);
        },
        1);
    return Count().bank_conflicts - before;
  };
  CHECK(conflicts(16) == 0 && conflicts(144) == 0);
  CHECK(conflicts(128) == 4 * 7);  // all 8 rows of a matrix in one group of banks
  CHECK(conflicts(64) == 4 * 3);
}

void TestShuffles() {
  int wrong = 0;
  RunBlocks(
      {2, 64, 0},
      [&](unsigned char*) {
        const int lane = cuda::ThreadIndex() % 32;
        const auto mine = static_cast<float>(cuda::ThreadIndex());
        wrong += cuda::ShuffleXor(mine, 5) != static_cast<float>(cuda::ThreadIndex() ^ 5);
        wrong += cuda::Shuffle(mine, 7) != mine - static_cast<float>(lane) + 7.0f;
      },
      3);
  CHECK(wrong == 0);
}

// A copy is not there before its group has been waited for, and not for others before a barrier.
void TestCopies() {
  alignas(16) unsigned char source[3][16];
  for (int i = 0; i < 3; ++i) std::memset(source[i], 'a' + i, 16);
  std::string seen;
  RunBlocks(
      {1, 32, 48},
      [&](unsigned char* shared) {
        if (cuda::ThreadIndex() != 0) return;
        const auto look = [&] {
          for (int i = 0; i < 3; ++i) seen += shared[i * 16 + 15] == 0xff ? '?' : '.';
        };
        std::memset(shared, 'x', 48);
        for (int i = 0; i < 3; ++i) {
          cuda::CopyAsync16(shared + i * 16, source[i], i != 1);
          cuda::CommitCopies();
        }
        look();
        cuda::WaitForCopies<2>();
        look();
        cuda::WaitForCopies<0>();
        look();
        CHECK(shared[0] == 'a' && shared[16] == 0 && shared[31] == 0 && shared[47] == 'c');
      },
      1);
  CHECK(seen == "???.??...");
}

// Without a barrier, some order of the warps shows it.
void TestMissingBarrierShows() {
  int stale = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    RunBlocks(
        {1, 64, 64},
        [&](unsigned char* shared) {
          if (cuda::ThreadIndex() < 32) shared[cuda::ThreadIndex()] = 1;
          if (cuda::ThreadIndex() >= 32) stale += shared[cuda::ThreadIndex() - 32] != 1;
        },
        seed);
  }
  CHECK(stale > 0);
}

void TestLostThreadIsFound() {
  const pid_t child = fork();
  if (child == 0) {
    (void)!freopen("/dev/null", "w", stderr);
    RunBlocks(
        {1, 64, 0},
        [](unsigned char*) {
          if (cuda::ThreadIndex() != 63) cuda::SyncBlock();
        },
        1);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

}  // namespace
}  // namespace g4v::cuda_host

int main() {
  using namespace g4v::cuda_host;
  TestConversions();
  TestMatrixFragments();
  TestMatrixProduct();
  TestMatrixLoads();
  TestBankConflicts();
  TestShuffles();
  TestCopies();
  TestMissingBarrierShows();
  TestLostThreadIsFound();
  return g4v::test::Finish();
}
