// The twins of kernels/cuda/intrinsics.cuh, for a CPU. Each does what the PTX manual says of its
// instruction; none of them knows how the kernels use it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cuda_host/simulator.h"
#include "kernels/cuda/portable.h"

namespace g4v::cuda_host {

float HalfToFloat(uint16_t bits);
uint16_t HalfFromFloat(float value);
float BFloat16ToFloat(uint16_t bits);
uint16_t BFloat16FromFloat(float value);

void CopyAsync16(void* shared, const void* global, bool valid);
void CommitCopies();
void WaitForCopies(size_t newest);
void LoadMatrices(uint32_t (&registers)[4], const void* shared, bool transposed);
void MatrixMultiplyAdd(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                       bool bfloat16);
float ShuffleFrom(float value, int lane);

}  // namespace g4v::cuda_host

namespace g4v::kernels::cuda {

inline int32_t ThreadIndex() { return cuda_host::ThreadIndex(); }
inline int32_t BlockIndex() { return cuda_host::BlockIndex(); }
inline void SyncBlock() { cuda_host::SyncBlock(); }
inline float Shuffle(float value, int lane) { return cuda_host::ShuffleFrom(value, lane); }
inline float ShuffleXor(float value, int mask) {
  return cuda_host::ShuffleFrom(value, cuda_host::ThreadIndex() % 32 ^ mask);
}

// The error of ex2.approx, 2^-22 relative, in a direction that depends on the argument's bits.
inline float Exp2(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const float error = static_cast<float>(static_cast<int>(bits % 7) - 3) / 3.0f * 0x1p-22f;
  return std::exp2(x) * (1.0f + error);
}
inline float Max(float a, float b) { return std::fmax(a, b); }
inline float MultiplyAdd(float a, float b, float c) { return std::fma(a, b, c); }

inline float ToFloat(float value) { return value; }
inline float ToFloat(Half value) { return cuda_host::HalfToFloat(value.bits); }
inline float ToFloat(BFloat16 value) { return cuda_host::BFloat16ToFloat(value.bits); }
inline void FromFloat(float value, float* result) { *result = value; }
inline void FromFloat(float value, Half* result) { result->bits = cuda_host::HalfFromFloat(value); }
inline void FromFloat(float value, BFloat16* result) {
  result->bits = cuda_host::BFloat16FromFloat(value);
}

template <class T>
uint32_t PackPair(float low, float high) {
  T pair[2];
  FromFloat(low, &pair[0]);
  FromFloat(high, &pair[1]);
  return pair[0].bits | static_cast<uint32_t>(pair[1].bits) << 16;
}

inline void CopyAsync16(void* shared, const void* global, bool valid) {
  cuda_host::CopyAsync16(shared, global, valid);
}
inline void CommitCopies() { cuda_host::CommitCopies(); }
template <int kNewest>
void WaitForCopies() {
  cuda_host::WaitForCopies(kNewest);
}
inline void LoadMatrices(uint32_t (&registers)[4], const void* shared) {
  cuda_host::LoadMatrices(registers, shared, false);
}
inline void LoadMatricesTransposed(uint32_t (&registers)[4], const void* shared) {
  cuda_host::LoadMatrices(registers, shared, true);
}
template <class T>
void MatrixMultiplyAdd(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
template <>
inline void MatrixMultiplyAdd<Half>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                    uint32_t b1) {
  cuda_host::MatrixMultiplyAdd(c, a, b0, b1, false);
}
template <>
inline void MatrixMultiplyAdd<BFloat16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                        uint32_t b1) {
  cuda_host::MatrixMultiplyAdd(c, a, b0, b1, true);
}

}  // namespace g4v::kernels::cuda
