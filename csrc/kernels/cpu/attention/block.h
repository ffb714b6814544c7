// What a task of flash attention works on, shared by flash_attention.h and the micro-kernels.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/divide_up.h"

namespace g4v::kernels {

constexpr int64_t kBlockQueries = 128;
constexpr float kLog2E = 1.44269504088896341f;

// Up to 128 queries of one head.
struct Block {
  int64_t b, h, first_query, queries;
};

// The queries of a block lie side by side in panels, as many as a micro-kernel takes at once.
// Where query `i` of a block lies in a transposed array [panels][D][width of the panel]: element d
// is at start + d * width.
struct Lane {
  int64_t start;
  int64_t width;
};

// Panels have `panel` queries, but the last one has the rest, in the fewest whole vectors.
inline Lane FindLane(int64_t query, int64_t queries, int64_t head_size, int64_t panel,
                     int64_t lanes) {
  const int64_t in_panel = std::min(queries - query / panel * panel, panel);
  return {query / panel * panel * head_size + query % panel, DivideUp(in_panel, lanes) * lanes};
}

// Sums over a range of keys, for one block of queries.
struct Part {
  float* out;      // [panels][D][width]
  float* maximum;  // [128], of the scores, in powers of two; weights are 2^(score - maximum)
  float* sum;      // [128], of the weights

  Part(float* memory, int64_t head_size)
      : out(memory), maximum(memory + head_size * kBlockQueries), sum(maximum + kBlockQueries) {}
};

}  // namespace g4v::kernels
