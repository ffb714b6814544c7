// The weights of a linear layer, packed for products with few rows (decoding) and many (prefill).
//
// The rows of the matrix [rows, columns] are in panels of 16, filled up with zeros. A panel holds
// its rows column by column, so that a vector register takes the same columns of neighbouring rows:
//
//   kFloat32, kFloat16,
//   kBFloat16             [panel][column][16]
//   kInt8                 [panel][block][block / 4][16][4]   signed codes q; a block is 16 or 32
//                                                            columns, filled up with zeros
//   kInt4                 [panel][block][4][16][4]           unsigned codes q, two in a byte: the
//                                                            low half is of columns 4 j ... 4 j + 3
//                                                            of the block, the high one of columns
//                                                            16 + 4 j ... 16 + 4 j + 3
//   scales, minima        [panel][block][16]                 one for each row of each block
//
// A code stands for the weight  scale * q + minimum  where there are minima, and without them for
// scale * q (kInt8) or scale * (q - 8) (kInt4).
#pragma once

#include <cstdint>

#include "kernels/cross_attention.h"

namespace g4v::kernels {

constexpr int64_t kPanelRows = 16;
constexpr int64_t kActivationBlock = 32;  // columns of an activation that share a scale

enum class WeightKind { kFloat32, kFloat16, kBFloat16, kInt8, kInt4 };

constexpr bool HasCodes(WeightKind kind) { return kind >= WeightKind::kInt8; }

// Plain data that refers to memory of somebody else.
struct PackedMatrix {
  WeightKind kind = WeightKind::kFloat32;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t block = 0;                    // columns that share a scale: 32, or 16 (kInt8); 0: floats
  const uint8_t* weights = nullptr;     // codes, or the values themselves
  const char* scales = nullptr;         // of dtype scale_dtype
  const char* minima = nullptr;         // of dtype scale_dtype; null: none
  DType scale_dtype = DType::kFloat16;  // kFloat16 or kFloat32
  const float* bias = nullptr;          // [rows]; null: none

  int64_t panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
  int64_t blocks() const { return block == 0 ? 0 : (columns + block - 1) / block; }
};

}  // namespace g4v::kernels
