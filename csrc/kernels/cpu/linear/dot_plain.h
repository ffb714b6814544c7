// Sums over one block of a panel for one row of weights: what the other dot_*.h are tested against.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "kernels/cpu/simd/portable.h"

namespace g4v::kernels::plain {

// As many int32 values as a vector has lanes.
using Integers = int32_t;

struct LinearTile {
  static constexpr int kRows = 1;     // of activations that share the reading of a weight
  static constexpr int kGroup = 1;    // of these rows, whose integer sums are in registers at once
  static constexpr int kVectors = 1;  // of a panel that a single row takes at once
};

inline float ToFloat(Integers x) { return static_cast<float>(x); }
inline Integers Subtract(Integers x, int32_t y) { return x - y; }

// sums[r] = sum_k q_k a[r]_k over a block of 32 columns of 4-bit codes.
// weights: the block, from the first row of the vector on.
template <int kRows>
inline void DotInt4(const uint8_t* weights, const int8_t* const (&a)[kRows],
                    Integers (&sums)[kRows]) {
  for (int r = 0; r < kRows; ++r) {
    sums[r] = 0;
    for (int k = 0; k < 16; ++k) {
      const int byte = weights[k / 4 * 64 + k % 4];
      sums[r] += (byte & 15) * a[r][k] + (byte >> 4) * a[r][16 + k];
    }
  }
}

// The same over kColumns columns of 8-bit codes. a_sums[r] is the sum of a[r] over the columns.
template <int kColumns, int kRows>
inline void DotInt8(const uint8_t* weights, const int8_t* const (&a)[kRows],
                    const int32_t (&)[kRows], Integers (&sums)[kRows]) {
  for (int r = 0; r < kRows; ++r) {
    sums[r] = 0;
    for (int k = 0; k < kColumns; ++k) {
      sums[r] += static_cast<int8_t>(weights[k / 4 * 64 + k % 4]) * a[r][k];
    }
  }
}

// 32 codes: the integers nearest to x times `factor`, which is at most 127 in magnitude.
inline void RoundBlock(const float* x, float factor, int8_t* codes) {
  for (int k = 0; k < 32; ++k) {
    const float code = std::nearbyint(x[k] * factor);
    codes[k] = code == code ? static_cast<int8_t>(code) : int8_t{0};
  }
}

// The largest of the bits of |x| as integers, which are in the order of the magnitudes.
inline int32_t LargestBits(const float* x) {
  int32_t largest = 0;
  for (int k = 0; k < 32; ++k) {
    largest = std::max(largest, std::bit_cast<int32_t>(x[k]) & 0x7fffffff);
  }
  return largest;
}

// Sums of the first 16 codes of a block and of the others.
inline void SumHalves(const int8_t* codes, int32_t* sums) {
  sums[0] = std::accumulate(codes, codes + 16, 0);
  sums[1] = std::accumulate(codes + 16, codes + 32, 0);
}

}  // namespace g4v::kernels::plain
