// A row of activations in 8 bits, over dot_*.h. Not guarded: linear_simd.h includes it.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "kernels/cpu/linear/linear.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

// The largest magnitude of a block, or NaN where a value is not finite.
inline float Largest(const float* block) {
  constexpr int32_t kInfinity = 0x7f800000;  // bits of NaN are above those of infinity
  const int32_t bits = LargestBits(block);
  return bits < kInfinity ? std::bit_cast<float>(bits) : std::numeric_limits<float>::quiet_NaN();
}

struct QuantisedBlock {
  int8_t* codes;
  int32_t* sums;
  float* scale;
  float* scaled_sum;
};

inline void QuantiseBlock(const float* values, const QuantisedBlock& to) {
  const float largest = Largest(values);
  RoundBlock(values, largest > 0.0f ? 127.0f / largest : 0.0f, to.codes);
  SumHalves(to.codes, to.sums);
  *to.scale = largest / 127.0f;
  *to.scaled_sum = *to.scale * static_cast<float>(to.sums[0] + to.sums[1]);
}

void QuantiseRow(const float* x, int64_t columns, int64_t row, QuantisedRows& to) {
  QuantisedBlock block{to.codes(row), to.sums(row), to.scales(row), to.scaled_sums(row)};
  for (; columns >= kActivationBlock; columns -= kActivationBlock) {
    QuantiseBlock(x, block);
    x += kActivationBlock;
    block = {block.codes + kActivationBlock, block.sums + 2, block.scale + 1, block.scaled_sum + 1};
  }
  if (columns == 0) return;
  float filled[kActivationBlock] = {};
  std::copy_n(x, columns, filled);
  QuantiseBlock(filled, block);
}

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
