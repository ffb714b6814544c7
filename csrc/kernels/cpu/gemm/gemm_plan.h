// How a product of gemm_amx.h is cut into blocks, so that what is read again stays in the level-2
// cache, and how much scratch memory it needs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/divide_up.h"

namespace g4v::kernels {

constexpr int64_t kBlock = 32;        // rows and columns of C in a step, and its depth
constexpr int64_t kTermWords = 1024;  // bfloat16 values of one term of a step's factor
// Of a level-2 cache, for what is read again and again: tiles of A, and two panels of B, the one
// that is multiplied and the one that is prefetched meanwhile.
constexpr int64_t kCacheBytes = 11 << 17;
constexpr int64_t kMostSteps = 32;    // of a part, so that most of that is left to A
constexpr int64_t kFewestSteps = 16;  // of a part, below which its sums take too much time
// More rows are done one product after another: the tiles of A take up to 6 bytes a value.
constexpr int64_t kMostRows = 1024;

inline int64_t Blocks(int64_t count) { return DivideUp(count, kBlock); }

// 16-bit values of 32 rows of A, or of 32 columns of B.
inline int64_t BlockWords(int64_t depth, int terms) { return Blocks(depth) * terms * kTermWords; }

// Rows of each of the products but the last.
inline int64_t RowsAtOnce(int64_t rows) {
  const int64_t products = std::max<int64_t>(1, DivideUp(rows, kMostRows));
  return std::max<int64_t>(1, DivideUp(Blocks(rows), products)) * kBlock;
}

// In which order the panels of B are multiplied. The depth is cut into parts, one after the other,
// and the rows of A into chunks: in each part every chunk reads all panels of B once. The sums of a
// part are where the next one begins, so that the result does not depend on the number of parts.
struct Passes {
  int64_t parts;
  int64_t chunks;
};

// More chunks read B more often, more parts write and read sums more often: whichever are fewer
// bytes.
inline Passes PlanPasses(int64_t rows, int64_t depth, int terms) {
  const int64_t steps = Blocks(depth);
  const int64_t panel = BlockWords(depth, terms) * static_cast<int64_t>(sizeof(uint16_t));
  const int64_t tiles = DivideUp(rows, kBlock / 2) * panel / 2;  // of A, 16 rows each
  const auto chunks = [&](int64_t parts) {
    return DivideUp(tiles / parts, kCacheBytes - 2 * panel / parts);
  };
  const int64_t fewest = std::max<int64_t>(1, DivideUp(steps, kMostSteps));
  const int64_t one_chunk = std::max(fewest, DivideUp(tiles + 2 * panel, kCacheBytes));
  const int64_t again =
      (chunks(fewest) - 1) * terms * depth * static_cast<int64_t>(sizeof(uint16_t));
  const int64_t sums = (one_chunk - fewest) * rows * 2 * static_cast<int64_t>(sizeof(float));
  if (one_chunk * kFewestSteps <= steps && sums < again) return {one_chunk, 1};
  return {fewest, std::min(chunks(fewest), Blocks(rows))};
}

// Bytes of scratch memory for a product of `rows` rows (RowsAtOnce or fewer).
inline size_t GemmScratchBytes(int64_t rows, int64_t depth, int64_t columns, int terms) {
  const bool once = PlanPasses(rows, depth, terms).parts == 1;
  const int64_t sums = once ? 0 : Blocks(columns) * kBlock * kBlock;
  return static_cast<size_t>(Blocks(rows)) *
         (static_cast<size_t>(BlockWords(depth, terms)) * sizeof(uint16_t) +
          static_cast<size_t>(sums) * sizeof(float));
}

}  // namespace g4v::kernels
