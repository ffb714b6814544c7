// What linear_simd.h is called with.
#pragma once

#include "kernels/cpu/linear/linear.h"

namespace g4v::kernels {

constexpr int kTileRows = 16;  // of x, that linear_tiles.h takes at once

struct LinearCall {
  const PackedMatrix& matrix;  // SwiGlu: the gate
  const PackedMatrix* up;      // null: Linear
  const LinearInput& x;
  const LinearOutput& out;
};

}  // namespace g4v::kernels
