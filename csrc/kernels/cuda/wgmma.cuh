// The PTX of warpgroup matrix products, compute capability 9.0 alone (sm_90a), one small function
// each. tests/csrc/cuda_host/wgmma.h has their twins for a CPU.
//
// A product runs asynchronously. Between its start and the wait for its group neither its
// accumulators nor its left matrix may be touched, and the compiler does not know: an asm statement
// has written its outputs when it ends. The functions that fence and wait therefore take the
// register arrays concerned and tie them to their place in the program.
#pragma once

#include "kernels/cuda/intrinsics.cuh"

#if defined(G4V_CUDA_ON_HOST)
#include "cuda_host/wgmma.h"
#else

namespace g4v::kernels::cuda {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

template <int N>
G4V_DEVICE void TieRegisters(float (&registers)[N][4]) {
  G4V_UNROLL
  for (int n = 0; n < N; ++n) {
    G4V_UNROLL
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(registers[n][i])::"memory");
  }
}
template <int N>
G4V_DEVICE void TieRegisters(uint32_t (&registers)[N][4]) {
  G4V_UNROLL
  for (int n = 0; n < N; ++n) {
    G4V_UNROLL
    for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(registers[n][i])::"memory");
  }
}

// What this thread wrote to shared memory, cp.async's landed copies included, becomes visible to
// products that start after the next barrier.
G4V_DEVICE void FenceProxyAsync() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Earlier accesses of `arrays`, the accumulators and left matrices of the products that follow,
// come before those products. All four warps.
template <class... Arrays>
G4V_DEVICE void FenceProducts(Arrays&... arrays) {
  (TieRegisters(arrays), ...);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// The products started since the last commit are a group.
G4V_DEVICE void CommitProducts() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Until at most the kNewest last groups are under way. `arrays`: the registers of those that have
// ended.
template <int kNewest, class... Arrays>
G4V_DEVICE void WaitForProducts(Arrays&... arrays) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kNewest) : "memory");
  (TieRegisters(arrays), ...);
}

template <class T>
constexpr bool kIsHalf = false;
template <>
constexpr bool kIsHalf<Half> = true;

// One instruction: `registers` names the accumulators, %0 on; then come the left matrix's four
// registers, the descriptor, whether to add, and whether the right matrix lies transposed.
#define G4V_WGMMA_TYPE(n, type, registers, left, right, add, transposed, ...)              \
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " add                                 \
               ", 0;\nwgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type       \
               "\n{" registers "}, {" left "}, " right ", add, 1, 1, " transposed ";\n}\n" \
               : __VA_ARGS__                                                               \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b),                       \
                 "r"(static_cast<int32_t>(accumulate)), "n"(kTransposed ? 1 : 0))
#define G4V_WGMMA(n, ...)                     \
  do {                                        \
    if constexpr (kIsHalf<T>) {               \
      G4V_WGMMA_TYPE(n, "f16", __VA_ARGS__);  \
    } else {                                  \
      G4V_WGMMA_TYPE(n, "bf16", __VA_ARGS__); \
    }                                         \
  } while (false)
#define G4V_BLOCK(n) "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])
#define G4V_BLOCKS_2(n) G4V_BLOCK(n), G4V_BLOCK(n + 1)
#define G4V_BLOCKS_4(n) G4V_BLOCKS_2(n), G4V_BLOCKS_2(n + 2)
#define G4V_BLOCKS_8(n) G4V_BLOCKS_4(n), G4V_BLOCKS_4(n + 4)
#define G4V_REGISTERS_8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define G4V_REGISTERS_16 G4V_REGISTERS_8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define G4V_REGISTERS_24 G4V_REGISTERS_16 ",%16,%17,%18,%19,%20,%21,%22,%23"
#define G4V_REGISTERS_32 G4V_REGISTERS_24 ",%24,%25,%26,%27,%28,%29,%30,%31"
#define G4V_REGISTERS_64                                 \
  G4V_REGISTERS_32                                       \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44" \
  ",%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

// Starts c[64, 8 kBlocks] = a[64, 16] b[16, 8 kBlocks] + (accumulate ? c : 0) for a warpgroup: four
// warps, of which the first is a multiple of four. c and a are spread over each warp as
// MatrixMultiplyAdd's are, 16 rows to a warp; b is in shared memory (matrix_layout.h).
// kTransposed: b is MN-major.
template <class T, bool kTransposed, int kBlocks>
G4V_DEVICE void StartProduct(float (&c)[kBlocks][4], const uint32_t (&a)[4], uint64_t b,
                             bool accumulate) {
  static_assert(kBlocks == 2 || kBlocks == 4 || kBlocks == 6 || kBlocks == 8 || kBlocks == 16,
                "no instruction of this width is written here");
  if constexpr (kBlocks == 2) {
    G4V_WGMMA(16, G4V_REGISTERS_8, "%8,%9,%10,%11", "%12", "%13", "%14", G4V_BLOCKS_2(0));
  } else if constexpr (kBlocks == 4) {
    G4V_WGMMA(32, G4V_REGISTERS_16, "%16,%17,%18,%19", "%20", "%21", "%22", G4V_BLOCKS_4(0));
  } else if constexpr (kBlocks == 6) {
    G4V_WGMMA(48, G4V_REGISTERS_24, "%24,%25,%26,%27", "%28", "%29", "%30", G4V_BLOCKS_4(0),
              G4V_BLOCKS_2(4));
  } else if constexpr (kBlocks == 8) {
    G4V_WGMMA(64, G4V_REGISTERS_32, "%32,%33,%34,%35", "%36", "%37", "%38", G4V_BLOCKS_8(0));
  } else {
    G4V_WGMMA(128, G4V_REGISTERS_64, "%64,%65,%66,%67", "%68", "%69", "%70", G4V_BLOCKS_8(0),
              G4V_BLOCKS_8(8));
  }
}

#undef G4V_WGMMA_TYPE
#undef G4V_WGMMA
#undef G4V_BLOCK
#undef G4V_BLOCKS_2
#undef G4V_BLOCKS_4
#undef G4V_BLOCKS_8
#undef G4V_REGISTERS_8
#undef G4V_REGISTERS_16
#undef G4V_REGISTERS_24
#undef G4V_REGISTERS_32
#undef G4V_REGISTERS_64

#endif  // sm_90a

}  // namespace g4v::kernels::cuda

#endif  // G4V_CUDA_ON_HOST
