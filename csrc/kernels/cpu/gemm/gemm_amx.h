// GEMM in float32 on AMX, which multiplies bfloat16: C = A B with a constant B.
//
// A float32 value is split in a sum of bfloat16 terms, each of which holds 8 of its 24 bits. Of the
// products of terms the smallest are left out, all others are summed in float32:
//
//   bf16x2   a b ~ a0 b1 + a0 b0 + a1 b0                           16 bits
//   bf16x3   a b ~ a0 b2 + a0 b1 + a1 b1 + a1 b0 + a2 b0 + a0 b0   24 bits
//
// bf16x3 is as exact as float32: terms are truncated, not rounded, so that three hold a value
// whole, and what is left out is at most 2^-21 of |a b|, 2^-24 on average, where every addition in
// float32 loses as much. In bf16x2 terms are rounded, and it loses at most 3 * 2^-16 of |a b|: for
// matrices of normal numbers 4e-6 of the norm, where TF32 loses 3e-4. oneMKL has the same modes as
// float_to_bf16x2 and float_to_bf16x3; PyTorch has bf16x2 as float32_matmul_precision("high").
//
// Subnormal terms count as zero, as in every product on AMX. A value that is not finite makes the
// results that it enters not finite.
//
// The number of terms is the attribute `pieces` of the operator g4v.MatMul in exported graphs: that
// name is part of the bundle format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/cpu/simd/targets.h"
#include "kernels/parallel.h"

#ifdef G4V_AMX

namespace g4v::kernels {

// Whether products are to run here: AMX is available, and G4V_CPU names nothing else (dispatch.h).
// The other functions need Available(Isa::kAmx) alone.
bool GemmAmxChosen();

// B as AMX wants it: 2 bytes for each value and term, padded to multiples of 32 rows and columns.
class PackedMatrix {
 public:
  // values: [depth, columns], row-major; terms: 2 or 3. Throws std::bad_alloc.
  PackedMatrix(const float* values, int64_t depth, int64_t columns, int terms, Parallel& parallel);

  int64_t depth() const { return depth_; }
  int64_t columns() const { return columns_; }
  int terms() const { return terms_; }
  // Of the 32 columns from 32 * panel on: [padded depth / 32][terms][2 tiles].
  const uint16_t* panel(int64_t panel) const;

 private:
  struct Free {
    void operator()(uint16_t* memory) const;
  };
  int64_t depth_;
  int64_t columns_;
  int terms_;
  std::unique_ptr<uint16_t, Free> tiles_;
};

// Bytes of scratch memory, aligned to 64, for `rows` rows of A.
size_t GemmAmxWorkspaceSize(int64_t rows, const PackedMatrix& b);

// c [rows, b.columns()] = a [rows, b.depth()] b, row-major. A row's result is the same, bit for
// bit, whatever other rows there are and however the work is scheduled.
void GemmAmx(const float* a, int64_t rows, const PackedMatrix& b, float* c, void* workspace,
             Parallel& parallel);

}  // namespace g4v::kernels

#endif  // G4V_AMX
