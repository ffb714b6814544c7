// C = A B in float32 with a constant B, on processors that multiply bfloat16 in tiles.
//
// A value is taken as a sum of values of bfloat16, each of which holds 8 of its 24 bits, and of the
// products of such sums the smallest are left out. All others are summed in float32:
//
//   two pieces     a b ~ a0 b1 + a0 b0 + a1 b0                          16 bits
//   three pieces   a b ~ a0 b2 + a0 b1 + a1 b1 + a1 b0 + a2 b0 + a0 b0   24 bits
//
// Three are as good as float32: pieces are cut off, not rounded, so that they hold a value whole,
// and what is left out is at most 2^-21 of |a b|, 2^-24 on average, where every addition of float32
// loses as much. Two are rounded and lose at most 3 * 2^-16: for matrices of normal numbers 4e-6 of
// the norm, where TF32 loses 3e-4. PyTorch calls that float32_matmul_precision("high"), oneMKL
// float_to_bf16x2, and three pieces float_to_bf16x3.
//
// As in every product of tiles subnormal pieces count as zero; what is not finite gives a value
// that is not finite.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/parallel.h"

namespace g4v::kernels {

// Whether this build, this processor and the operating system have the tiles. Nothing else of this
// file may be called where they have not.
bool TiledProductAvailable();

// B as the tiles want it: 2 bytes a value and piece, and what pads it to multiples of 32 rows and
// columns.
class TiledMatrix {
 public:
  // values: [depth, columns], row-major; pieces: 2 or 3. Throws std::bad_alloc.
  TiledMatrix(const float* values, int64_t depth, int64_t columns, int pieces, Parallel& parallel);

  int64_t depth() const { return depth_; }
  int64_t columns() const { return columns_; }
  int pieces() const { return pieces_; }
  // Of the 32 columns from 32 * panel on: [padded depth / 32][pieces][2 tiles].
  const uint16_t* panel(int64_t panel) const;

 private:
  struct Free {
    void operator()(uint16_t* memory) const;
  };
  int64_t depth_;
  int64_t columns_;
  int pieces_;
  std::unique_ptr<uint16_t, Free> tiles_;
};

// Bytes of scratch memory, aligned to 64, for `rows` rows of A.
size_t TiledProductWorkspaceSize(int64_t rows, const TiledMatrix& b);

// c [rows, b.columns()] = a [rows, b.depth()] b, row-major. A row's result is the same, bit for
// bit, whatever other rows there are and however the work is scheduled.
void TiledProduct(const float* a, int64_t rows, const TiledMatrix& b, float* c, void* workspace,
                  Parallel& parallel);

}  // namespace g4v::kernels
