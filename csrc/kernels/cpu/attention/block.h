// What a task of blocked.h works on, shared with the panel products (panel.h, tiles.h).
#pragma once

#include <algorithm>
#include <cstdint>

namespace g4v::kernels {
namespace {

constexpr int64_t kBlockQueries = 128;
constexpr float kLog2E = 1.44269504088896341f;

// Up to 128 queries of one head.
struct Block {
  int64_t b, h, first_query, queries;
};

// Where the lanes of query `i` of a block lie in a transposed array [panels][D][width of the
// panel]: element d is at start[d * width].
struct Lane {
  int64_t start;
  int64_t width;
};

// Panels have `panel` queries but for the last, whose width is the fewest whole vectors.
inline Lane FindLane(int64_t query, int64_t queries, int64_t head_size, int64_t panel,
                     int64_t lanes) {
  const int64_t in_panel = std::min(queries - query / panel * panel, panel);
  return {query / panel * panel * head_size + query % panel,
          (in_panel + lanes - 1) / lanes * lanes};
}

// What a range of keys adds up to, for one block of queries.
struct Part {
  float* out;      // [panels][D][width]
  float* maximum;  // [128], in powers of two: what the exponents of the weights are relative to
  float* sum;      // [128]

  Part(float* memory, int64_t head_size)
      : out(memory), maximum(memory + head_size * kBlockQueries), sum(maximum + kBlockQueries) {}
};

}  // namespace
}  // namespace g4v::kernels
