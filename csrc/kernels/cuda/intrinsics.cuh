// All PTX and all special registers of the kernels, one small function each.
//
// tests/csrc/cuda_host/device.h has a twin of every function here, which runs on a CPU after the
// PTX manual's definition; the kernels above this line are the same source in both.
#pragma once

#include "kernels/cuda/portable.h"

#if defined(G4V_CUDA_ON_HOST)
#include "cuda_host/device.h"
#else

namespace g4v::kernels::cuda {

G4V_DEVICE int32_t ThreadIndex() { return static_cast<int32_t>(threadIdx.x); }
G4V_DEVICE int32_t BlockIndex() { return static_cast<int32_t>(blockIdx.x); }
G4V_DEVICE void SyncBlock() { __syncthreads(); }

// All lanes of a warp take part.
G4V_DEVICE float ShuffleXor(float value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
G4V_DEVICE float Shuffle(float value, int lane) { return __shfl_sync(0xffffffffu, value, lane); }

// 2^x within 2^-22 relative; 2^-inf is 0.
G4V_DEVICE float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

G4V_DEVICE float Max(float a, float b) { return fmaxf(a, b); }
G4V_DEVICE float MultiplyAdd(float a, float b, float c) { return fmaf(a, b, c); }

G4V_DEVICE float ToFloat(float value) { return value; }
G4V_DEVICE float ToFloat(Half value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}
G4V_DEVICE float ToFloat(BFloat16 value) {
  return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
}

// To the nearest, ties to even.
G4V_DEVICE void FromFloat(float value, float* result) { *result = value; }
G4V_DEVICE void FromFloat(float value, Half* result) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result->bits) : "f"(value));
}
G4V_DEVICE void FromFloat(float value, BFloat16* result) {
  // Not cvt.rn.bf16: sm_75 has none.
  const uint32_t bits = __float_as_uint(value);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  result->bits =
      static_cast<uint16_t>(nan ? 0x7fffu : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800

// Two 16-bit elements in a register, `low` in the lower half.
template <class T>
G4V_DEVICE uint32_t PackPair(float low, float high);
template <>
G4V_DEVICE uint32_t PackPair<Half>(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
template <>
G4V_DEVICE uint32_t PackPair<BFloat16>(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

G4V_DEVICE uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Starts copying 16 bytes to shared memory, or 16 zero bytes where `valid` is false (`global` is
// not read then). The copy belongs to the thread's next group.
G4V_DEVICE void CopyAsync16(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(SharedAddress(shared)),
               "l"(global), "r"(valid ? 16 : 0)
               : "memory");
}
G4V_DEVICE void CommitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most the kNewest last groups of this thread are under way.
template <int kNewest>
G4V_DEVICE void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kNewest) : "memory");
}

// Four 8x8 matrices of 16-bit elements. Lane 8 i + r gives the address of row r of matrix i; lane
// 4 r + c gets elements 2 c and 2 c + 1 of row r (transposed: of column r) of matrix i in
// registers[i].
G4V_DEVICE void LoadMatrices(uint32_t (&registers)[4], const void* shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(SharedAddress(shared))
               : "memory");
}
G4V_DEVICE void LoadMatricesTransposed(uint32_t (&registers)[4], const void* shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(SharedAddress(shared))
               : "memory");
}

// c[16, 8] += a[16, 16] b[16, 8], all spread over the warp as the PTX manual's "Matrix fragments
// for mma.m16n8k16 with floating point type" says.
template <class T>
G4V_DEVICE void MatrixMultiplyAdd(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
template <>
G4V_DEVICE void MatrixMultiplyAdd<Half>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                        uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
G4V_DEVICE void MatrixMultiplyAdd<BFloat16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                            uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif  // sm_80

}  // namespace g4v::kernels::cuda

#endif  // G4V_CUDA_ON_HOST
