// Products of activations with packed weights (packed_matrix.h):
//
//   Linear:   out = x W^T + bias, or out += x W^T + bias
//   SwiGlu:   out = silu(x G^T + bias_g) * (x U^T + bias_u),   silu(z) = z / (1 + exp(-z))
//
// Weights that are codes are multiplied with activations in 8 bits: a block of 32 columns of a row
// of x has the scale s = max |x| / 127 and the codes a = round(x / s). The sum over a block,
//
//   sum_k q_k a_k,
//
// is an integer and so exact; blocks are added up in float32 in their order. Products of floats are
// added up column by column. So an output depends on its row of x and its row of W alone: it has
// the same bits on every instruction set, on any number of threads, and whichever other rows of x
// there are.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/linear/packed_matrix.h"

namespace g4v::kernels {

// Rows of activations in 8 bits.
class QuantisedRows {
 public:
  // Makes room; what is held then is undefined.
  void Resize(int64_t rows, int64_t columns);

  int64_t blocks() const { return blocks_; }
  // Bytes from a row of codes to the next. An odd number of cache lines: rows that are a power of two
  // apart would push each other out of the cache.
  int64_t stride() const { return stride_; }
  // Filled up with zeros.
  int8_t* codes(int64_t row) { return codes_.data() + row * stride_; }
  const int8_t* codes(int64_t row) const { return codes_.data() + row * stride_; }
  // Of a row: the scales [blocks]; the sums of the codes over 16 columns each [2 blocks]; the sums
  // over a block times its scale [blocks].
  float* scales(int64_t row) { return scales_.data() + row * blocks_; }
  const float* scales(int64_t row) const { return scales_.data() + row * blocks_; }
  int32_t* sums(int64_t row) { return sums_.data() + row * 2 * blocks_; }
  const int32_t* sums(int64_t row) const { return sums_.data() + row * 2 * blocks_; }
  float* scaled_sums(int64_t row) { return scaled_sums_.data() + row * blocks_; }
  const float* scaled_sums(int64_t row) const { return scaled_sums_.data() + row * blocks_; }

 private:
  int64_t blocks_ = 0;
  int64_t stride_ = 0;
  std::vector<int8_t> codes_;
  std::vector<float> scales_;
  std::vector<int32_t> sums_;
  std::vector<float> scaled_sums_;
};

struct LinearInput {
  int64_t rows = 0;
  const float* values = nullptr;             // [rows, columns], read by matrices of floats
  const QuantisedRows* quantised = nullptr;  // read by matrices of codes
};

struct LinearOutput {
  float* values = nullptr;  // row r, column c is values[r * stride + c]
  int64_t stride = 0;
  bool add = false;  // to what is there
};

// Writes row `row` of `to` from x [columns].
void QuantiseRow(const float* x, int64_t columns, int64_t row, QuantisedRows& to,
                 Isa isa = ChosenIsa());

// The output columns of the panels first ... last - 1 of a matrix.
void LinearPanels(const PackedMatrix& matrix, const LinearInput& x, int64_t first, int64_t last,
                  const LinearOutput& out, Isa isa = ChosenIsa());
// `gate` and `up` have the same sizes; their kinds may differ.
void SwiGluPanels(const PackedMatrix& gate, const PackedMatrix& up, const LinearInput& x,
                  int64_t first, int64_t last, const LinearOutput& out, Isa isa = ChosenIsa());

}  // namespace g4v::kernels
