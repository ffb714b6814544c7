// How wgmma's right matrices lie in shared memory, and the 64-bit descriptors that say so: after
// the PTX manual's "Shared memory matrix layout" and "Matrix descriptor format" of
// wgmma.mma_async. Host and device alike.
//
// A tile of rows of 64 or 128 16-bit elements is stored in column blocks of 64: 128 bytes of each
// row one after the other, the hardware's "128-byte swizzle". That swizzle exchanges the 16-byte
// pieces of a row by the row's number modulo 8, so that eight rows of one column lie in eight
// different groups of banks. The pattern repeats every 1,024 bytes, where each block must start.
//
// The same tile serves both products. As K-major (keys: the sum runs along the rows) its rows are
// the columns of the right matrix; as MN-major (values: the sum runs over the rows) they are its
// rows, and wgmma transposes.
#pragma once

#include "kernels/cuda/portable.h"

namespace g4v::kernels::cuda {

constexpr int kPatternBytes = 1024;  // eight rows of 128 bytes
constexpr int kBlockRowBytes = 128;  // of a column block
constexpr int kBlockPieces = kBlockRowBytes / 16;

// Where the 16-byte piece `piece` of row `row` lies in a tile of kRows rows: bytes from its start.
template <int kRows>
G4V_HOST_DEVICE constexpr int32_t SwizzledOffset(int32_t row, int32_t piece) {
  static_assert(kRows % 8 == 0, "a column block is a whole number of patterns");
  const int32_t block = piece / kBlockPieces;
  const int32_t place = piece % kBlockPieces ^ row % 8;
  return (block * kRows + row) * kBlockRowBytes + place * 16;
}

// Byte counts below 2^18, multiples of 16; the matrix starts at the start of a pattern.
G4V_HOST_DEVICE constexpr uint64_t MatrixDescriptor(uint32_t address, uint32_t leading_bytes,
                                                    uint32_t stride_bytes) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return kSwizzle128 | uint64_t{stride_bytes >> 4} << 32 | uint64_t{leading_bytes >> 4} << 16 |
         address >> 4;
}

// Of a tile of kRows rows whose rows are the columns of the right matrix, any number of them from
// the first on: the stride is from eight rows to the next eight, the leading offset is not used.
G4V_HOST_DEVICE constexpr uint64_t KeysDescriptor(uint32_t tile) {
  return MatrixDescriptor(tile, 16, kPatternBytes);
}
// Of a tile whose rows are the rows of the right matrix: the stride is from eight rows to the next
// eight, the leading offset from one column block to the next.
template <int kRows>
G4V_HOST_DEVICE constexpr uint64_t ValuesDescriptor(uint32_t tile) {
  return MatrixDescriptor(tile, kRows * kBlockRowBytes, kPatternBytes);
}

// The same matrix `bytes` further on. The address alone grows: shared memory ends below 2^18.
G4V_HOST_DEVICE constexpr uint64_t Further(uint64_t descriptor, uint32_t bytes) {
  const uint32_t low = static_cast<uint32_t>(descriptor) + (bytes >> 4);
  return (descriptor >> 32 << 32) | low;
}

// From a tile's start to elements 16 `step` .. + 15 of its rows, as keys.
template <int kRows>
G4V_HOST_DEVICE constexpr uint32_t KeysStep(int32_t step) {
  constexpr int32_t kSteps = kBlockRowBytes / 32;  // of a column block
  return static_cast<uint32_t>(step / kSteps * kRows * kBlockRowBytes + step % kSteps * 32);
}
// From a tile's start to its rows 16 `step` .. + 15, as values.
G4V_HOST_DEVICE constexpr uint32_t ValuesStep(int32_t step) {
  return static_cast<uint32_t>(step * 2 * kPatternBytes);
}

}  // namespace g4v::kernels::cuda
