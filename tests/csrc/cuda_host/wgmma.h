// The twins of kernels/cuda/wgmma.cuh, for a CPU, and what they keep of a warp's products.
//
// Written from the PTX manual's chapter on wgmma, not from the kernels. A product is done when its
// group is waited for, the latest moment allowed, and its operands are looked at when it is
// started, the earliest. In between its accumulators hold NaNs. These mistakes end the program:
//   * shared memory that no copy has written, that is not waited for, or that its writer has not
//     fenced (fence.proxy.async) is read; an operand changes while a product is under way;
//   * accumulators or left matrices are used without a wgmma.fence since they were last touched;
//   * accumulators are touched under way, or used by products of different shapes at once;
//   * the lanes of a warp, or the warps of a warpgroup, do not start the same products;
//   * a block ends with products under way.
// Results of a product whose registers a wait does not name stay NaNs: nothing keeps a compiler
// from reading such registers before the wait.
//
// The four warps run on their own, as far apart as barriers let them: the GPU promises no more.
// What is not seen: ordinary stores to shared memory without a fence (the kernels have none), and a
// read of accumulators between a fence and the next product.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <type_traits>
#include <vector>

#include "cuda_host/simulator.h"
#include "kernels/cuda/portable.h"

namespace g4v::cuda_host {

// c[64, columns] = a[64, 16] b[16, columns] + (accumulate ? c : 0); 16 rows of each warp.
struct Product {
  uint64_t right = 0;  // b's descriptor
  int columns = 0;
  bool transposed = false, bfloat16 = false, accumulate = false;
  float* c[32] = {};           // of each lane, [columns / 2]
  const uint32_t* a[32] = {};  // of each lane, [4]
  uint32_t left_bits[32][4] = {};
  std::vector<uint16_t> right_bits;  // [16, columns]
  bool SameAs(const Product& other) const;
};

struct WarpProducts {
  std::vector<Product> open;
  std::deque<std::vector<Product>> groups;  // oldest first
  std::vector<Product> history;             // operands' pointers and bits left out
  std::map<const void*, std::vector<unsigned char>> fenced[32];  // registers, as the fence saw them
  std::map<const float*, std::vector<float>> values[32];  // of accumulators under way or not taken
};

void FenceProxyAsync();
uint32_t SharedAddress(const void* shared);
// Not const: registers without a value yet may be given.
void FenceRegisters(void* registers, size_t bytes);
void FenceWarpgroup();
void StartProduct(float* c, const uint32_t* a, uint64_t right, int columns, bool transposed,
                  bool bfloat16, bool accumulate);
void CommitProducts();
void EndProducts(int newest);
void TakeAccumulators(float* c, int count);

// The byte address in shared memory of element (k, n) of the right matrix that `descriptor` names.
uint32_t RightElement(uint64_t descriptor, bool transposed, int k, int n);

// Ends the program where the warps of a block that has ended left something undone.
void CheckProductsOfBlock(const std::vector<WarpProducts*>& warps);

inline void Take(uint32_t*, int) {}
inline void Take(float* registers, int count) { TakeAccumulators(registers, count); }

}  // namespace g4v::cuda_host

namespace g4v::kernels::cuda {

inline uint32_t SharedAddress(const void* shared) { return cuda_host::SharedAddress(shared); }
inline void FenceProxyAsync() { cuda_host::FenceProxyAsync(); }

template <class... Arrays>
void FenceProducts(Arrays&... arrays) {
  (cuda_host::FenceRegisters(arrays, sizeof arrays), ...);
  cuda_host::FenceWarpgroup();
}
inline void CommitProducts() { cuda_host::CommitProducts(); }
template <int kNewest, class... Arrays>
void WaitForProducts(Arrays&... arrays) {
  cuda_host::EndProducts(kNewest);
  (cuda_host::Take(&arrays[0][0], sizeof arrays / sizeof arrays[0][0]), ...);
}

template <class T, bool kTransposed, int kBlocks>
void StartProduct(float (&c)[kBlocks][4], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  cuda_host::StartProduct(&c[0][0], a, b, kBlocks * 8, kTransposed, std::is_same_v<T, BFloat16>,
                          accumulate);
}

}  // namespace g4v::kernels::cuda
