// The twins of the warpgroup instructions do what the PTX manual says, and find what they are there
// to find. The kernels are not used here.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "cuda_host/device.h"
#include "cuda_host/wgmma.h"

namespace g4v::cuda_host {
namespace {

namespace cuda = kernels::cuda;

uint64_t Descriptor(uint64_t address, uint64_t leading, uint64_t stride, uint64_t swizzle) {
  return address >> 4 | leading >> 4 << 16 | stride >> 4 << 32 | swizzle << 62;
}

// The manual's worked examples of bfloat16 matrices ("Canonical layouts"), with their exact
// layouts: the offset of element (n, k) is sum of index digit times stride, in elements, then
// swizzled.
void TestMajorMnExamples() {
  struct Example {
    uint64_t leading, stride, mode;
    int pieces;             // of 8 elements, side by side
    int next, rows, eight;  // strides of: the next pieces, k, the next 8 k
    int swizzle_bits;
  };
  const Example examples[] = {
      {128 * 2, 64 * 2, 0, 1, 64, 8, 128, 0},       // ((8,1,2),(8,2)):((1,8,64),(8,128))
      {128 * 2, 256 * 2, 3, 2, 128, 16, 256, 1},    // ((8,2,2),(8,2)):((1,8,128),(16,256))
      {256 * 2, 512 * 2, 2, 4, 256, 32, 512, 2},    // ((8,4,2),(8,2)):((1,8,256),(32,512))
      {512 * 2, 1024 * 2, 1, 8, 512, 64, 1024, 3},  // the same with 128 bytes
  };
  for (const Example& example : examples) {
    const uint64_t descriptor = Descriptor(4096, example.leading, example.stride, example.mode);
    for (int n = 0; n < 16 * example.pieces; ++n) {
      for (int k = 0; k < 16; ++k) {
        const int element = n % 8 + n / 8 % example.pieces * 8 +
                            n / 8 / example.pieces * example.next + k % 8 * example.rows +
                            k / 8 * example.eight;
        auto byte = static_cast<uint32_t>(4096 + element * 2);
        for (int bit = 0; bit < example.swizzle_bits; ++bit) {
          byte ^= (byte >> (7 + bit) & 1) << (4 + bit);
        }
        CHECK(RightElement(descriptor, true, k, n) == byte);
      }
    }
  }
}

void TestMajorKLayouts() {
  // No swizzle: cores of 8 rows of 16 bytes; from one to the next the leading offset along k, the
  // stride across.
  const uint64_t plain = Descriptor(2048, 512, 128, 0);
  CHECK(RightElement(plain, false, 0, 0) == 2048 && RightElement(plain, false, 7, 0) == 2062);
  CHECK(RightElement(plain, false, 8, 0) == 2560 && RightElement(plain, false, 0, 1) == 2064);
  CHECK(RightElement(plain, false, 9, 17) == 2048 + 512 + 2 + 2 * 128 + 16);
  // 128 bytes: row r has its 16-byte piece c at r * 128 + (c ^ r % 8) * 16; steps of 16 elements
  // begin 32 bytes on.
  for (int step = 0; step < 4; ++step) {
    const uint64_t wide = Descriptor(1024 + static_cast<uint64_t>(step) * 32, 16, 1024, 1);
    for (int n = 0; n < 64; ++n) {
      for (int k = 0; k < 16; ++k) {
        const int piece = step * 2 + k / 8;
        const int expected = 1024 + n * 128 + (piece ^ n % 8) * 16 + k % 8 * 2;
        CHECK(RightElement(wide, false, k, n) == static_cast<uint32_t>(expected));
      }
    }
  }
}

// Copies `source` to shared memory so that products may read it.
void Fill(unsigned char* shared, const std::vector<uint16_t>& source) {
  for (size_t i = static_cast<size_t>(ThreadIndex()); i < source.size() / 8; i += 128) {
    cuda::CopyAsync16(shared + i * 16, source.data() + i * 8, true);
  }
  cuda::CommitCopies();
  cuda::WaitForCopies<0>();
  cuda::FenceProxyAsync();
  cuda::SyncBlock();
}

// Small integers, exact in every type. b is stored both ways at once: 64 rows of 64 elements in the
// 128-byte swizzle are [n, k] for K-major and [k, n] for MN-major.
void TestProducts() {
  std::mt19937 random(3);
  std::uniform_int_distribution<int> small(-8, 8);
  float a[64][16], table[64][64];
  for (auto& row : a) {
    for (float& value : row) value = static_cast<float>(small(random));
  }
  alignas(16) std::vector<uint16_t> source(64 * 64);
  for (int r = 0; r < 64; ++r) {
    for (int c = 0; c < 64; ++c) {
      table[r][c] = static_cast<float>(small(random));
      source[static_cast<size_t>(r * 64 + (c / 8 ^ r % 8) * 8 + c % 8)] =
          HalfFromFloat(table[r][c]);
    }
  }
  for (const bool transposed : {false, true}) {
    int wrong = 0;
    RunBlocks(
        {1, 128, 8192},
        [&](unsigned char* shared) {
          Fill(shared, source);
          // The manual's figures: warp w has rows 16 w on.
          const int row = ThreadIndex() / 32 * 16 + ThreadIndex() % 32 / 4;
          const int place = ThreadIndex() % 4 * 2;
          const auto pair = [&](int r, int k) {
            return cuda::PackPair<cuda::Half>(a[r][k], a[r][k + 1]);
          };
          uint32_t left[1][4] = {{pair(row, place), pair(row + 8, place), pair(row, place + 8),
                                  pair(row + 8, place + 8)}};
          float c[8][4];
          for (auto& block : c) std::fill_n(block, 4, 100.0f);
          const uint32_t at = cuda::SharedAddress(shared);
          cuda::FenceProducts(c, left);
          // The second product continues the first: no fence between them.
          if (transposed) {  // rows 16 .. 31, then 48 .. 63
            cuda::StartProduct<cuda::Half, true>(c, left[0], Descriptor(at + 2048, 16, 1024, 1),
                                                 true);
            cuda::StartProduct<cuda::Half, true>(c, left[0], Descriptor(at + 6144, 16, 1024, 1),
                                                 true);
          } else {  // columns 16 .. 31, then 48 .. 63
            cuda::StartProduct<cuda::Half, false>(c, left[0], Descriptor(at + 32, 16, 1024, 1),
                                                  true);
            cuda::StartProduct<cuda::Half, false>(c, left[0], Descriptor(at + 96, 16, 1024, 1),
                                                  true);
          }
          cuda::CommitProducts();
          wrong += !std::isnan(c[3][1]);
          cuda::WaitForProducts<0>(c);
          for (int n = 0; n < 64; ++n) {
            for (int half = 0; half < 2; ++half) {
              if (n % 8 / 2 != place / 2) continue;
              float expected = 100.0f;
              for (int k = 0; k < 16; ++k) {
                for (const int first : {16, 48}) {
                  expected += a[row + 8 * half][k] *
                              (transposed ? table[first + k][n] : table[n][first + k]);
                }
              }
              wrong += c[n / 8][half * 2 + n % 2] != expected;
            }
          }
        },
        4);
    CHECK(wrong == 0);
  }
}

enum class Mistake {
  kNone,
  kNoCopy,
  kNoCopyWait,
  kNoProxyFence,
  kProxyFenceBeforeWait,
  kNoFence,
  kTouchedAfterFence,
  kLeftTouchedAfterFence,
  kTouchedUnderWay,
  kLeftTouchedUnderWay,
  kCopyUnderWay,
  kOtherShape,
  kFencedUnderWay,
  kNotCommitted,
  kNotWaitedFor,
  kSecondWithoutFence,
  kLanesDiffer,
  kWarpsDiffer,
  kOutside,
};

// One product, with one mistake. Returns c[0][0] of thread 0, 17 where all is well.
float OneProduct(Mistake mistake) {
  const std::vector<uint16_t> ones(64 * 64, BFloat16FromFloat(1.0f));
  const auto is = [&](Mistake one) { return mistake == one; };
  float result = 0.0f;
  RunBlocks(
      {1, 128, 8192},
      [&](unsigned char* shared) {
        const int thread = ThreadIndex();
        if (!is(Mistake::kNoCopy)) {
          for (int i = 0; i < 4; ++i) {
            cuda::CopyAsync16(shared + (thread * 4 + i) * 16, ones.data(), true);
          }
        }
        cuda::CommitCopies();
        if (is(Mistake::kProxyFenceBeforeWait)) cuda::FenceProxyAsync();
        if (!is(Mistake::kNoCopyWait)) cuda::WaitForCopies<0>();
        if (!is(Mistake::kNoProxyFence) && !is(Mistake::kProxyFenceBeforeWait)) {
          cuda::FenceProxyAsync();
        }
        cuda::SyncBlock();
        const uint32_t one = cuda::PackPair<cuda::BFloat16>(1.0f, 1.0f);
        uint32_t a[1][4] = {{one, one, one, one}};
        float c[8][4];
        for (auto& block : c) std::fill_n(block, 4, 1.0f);
        if (!is(Mistake::kNoFence)) cuda::FenceProducts(c, a);
        if (is(Mistake::kTouchedAfterFence) && thread == 70) c[7][3] = 2.0f;
        if (is(Mistake::kLeftTouchedAfterFence) && thread == 70) a[0][3] = 0;
        uint64_t right = Descriptor(cuda::SharedAddress(shared), 16, 1024, 1);
        if (is(Mistake::kLanesDiffer) && thread == 5) right += 2;
        if (is(Mistake::kWarpsDiffer) && thread / 32 == 2) right += 2;
        if (is(Mistake::kOutside)) right += 1024 >> 4;
        cuda::StartProduct<cuda::BFloat16, false>(c, a[0], right, true);
        if (is(Mistake::kOtherShape)) {
          auto& narrow = reinterpret_cast<float (&)[4][4]>(c);
          cuda::StartProduct<cuda::BFloat16, false>(narrow, a[0], right, true);
        }
        if (is(Mistake::kTouchedUnderWay) && thread == 127) c[2][2] = 5.0f;
        if (is(Mistake::kLeftTouchedUnderWay) && thread == 64) a[0][1] = 7;
        if (is(Mistake::kCopyUnderWay) && thread == 96) {
          cuda::CopyAsync16(shared + 1024, ones.data(), true);
        }
        if (is(Mistake::kFencedUnderWay)) cuda::FenceProducts(c);
        if (!is(Mistake::kNotCommitted)) cuda::CommitProducts();
        if (!is(Mistake::kNotWaitedFor)) cuda::WaitForProducts<0>(c);
        if (is(Mistake::kSecondWithoutFence)) {
          cuda::StartProduct<cuda::BFloat16, false>(c, a[0], right, true);
        }
        if (thread == 0) result = c[0][0];
      },
      2);
  return result;
}

// What a child process says on stderr before it is aborted; empty where it is not.
std::string LastWords(Mistake mistake) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 2);
    OneProduct(mistake);
    _exit(0);
  }
  close(ends[1]);
  std::string words;
  std::array<char, 256> bytes;
  for (ssize_t count; (count = read(ends[0], bytes.data(), bytes.size())) > 0;) {
    words.append(bytes.data(), static_cast<size_t>(count));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT ? words : "";
}

void TestMistakesAreFound() {
  CHECK(OneProduct(Mistake::kNone) == 17.0f);
  const std::pair<Mistake, const char*> cases[] = {
      {Mistake::kNoCopy, "never written"},
      {Mistake::kNoCopyWait, "copy was not waited for"},
      {Mistake::kNoProxyFence, "without fence.proxy.async"},
      {Mistake::kProxyFenceBeforeWait, "without fence.proxy.async"},
      {Mistake::kNoFence, "after the last wgmma.fence"},
      {Mistake::kTouchedAfterFence, "after the last wgmma.fence"},
      {Mistake::kLeftTouchedAfterFence, "after the last wgmma.fence"},
      {Mistake::kTouchedUnderWay, "accumulators were touched while wgmma used them"},
      {Mistake::kLeftTouchedUnderWay, "a left matrix changed"},
      {Mistake::kCopyUnderWay, "shared memory changed while wgmma read it"},
      {Mistake::kOtherShape, "products of different shapes"},
      {Mistake::kFencedUnderWay, "a fence touches accumulators under way"},
      {Mistake::kNotCommitted, "a wait names accumulators that are still under way"},
      {Mistake::kNotWaitedFor, "ends with wgmma under way"},
      {Mistake::kSecondWithoutFence, "after the last wgmma.fence"},
      {Mistake::kLanesDiffer, "the lanes of a warp start different products"},
      {Mistake::kWarpsDiffer, "the warps of a warpgroup start different products"},
      {Mistake::kOutside, "outside of shared memory"},
  };
  for (const auto& [mistake, words] : cases) {
    const std::string said = LastWords(mistake);
    const bool found = said.find(words) != std::string::npos;
    if (!found) std::fprintf(stderr, "expected \"%s\", got \"%s\"\n", words, said.c_str());
    CHECK(found);
  }
}

// Without its registers' names a wait brings nothing.
void TestWaitNamesRegisters() {
  const std::vector<uint16_t> ones(64 * 64, BFloat16FromFloat(1.0f));
  int kept = 0;
  RunBlocks(
      {1, 128, 8192},
      [&](unsigned char* shared) {
        Fill(shared, ones);
        uint32_t a[1][4] = {};
        float c[8][4] = {};
        cuda::FenceProducts(c, a);
        const uint64_t right = Descriptor(cuda::SharedAddress(shared), 16, 1024, 1);
        cuda::StartProduct<cuda::BFloat16, false>(c, a[0], right, false);
        cuda::CommitProducts();
        cuda::WaitForProducts<0>(a);
        kept += std::isnan(c[5][2]);
      },
      2);
  CHECK(kept == 128);
}

}  // namespace
}  // namespace g4v::cuda_host

int main() {
  using namespace g4v::cuda_host;
  TestMajorMnExamples();
  TestMajorKLayouts();
  TestProducts();
  TestMistakesAreFound();
  TestWaitNamesRegisters();
  return g4v::test::Finish();
}
