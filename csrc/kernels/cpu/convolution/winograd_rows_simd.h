// Steps 1 and 4 of winograd_simd.h: from the rows of an image to those that the transforms read, and
// back. Not guarded: winograd_simd.h includes it once for each instruction set.
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/convolution/winograd.h"
#include "kernels/cpu/convolution/winograd_tiles.h"
#include "kernels/cpu/simd/silu_simd.h"
#include "kernels/cpu/simd/simd.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

// Values of a row of an image from column `x` on, four for each of `tiles` tiles, into four rows of
// phases; zeros outside the image.
inline void SplitRow(const float* row, int64_t width, int64_t x, int64_t tiles, float* to) {
  int64_t t = 0;
  for (; t < tiles && x < 0; ++t, x += winograd::kTile) {
    for (int64_t j = 0; j < winograd::kTile; ++j) {
      to[j * winograd::kBlockRow + t] = x + j >= 0 && x + j < width ? row[x + j] : 0.0f;
    }
  }
  const int64_t whole =
      std::max<int64_t>(0, std::min<int64_t>(tiles - t, (width - x) / winograd::kTile));
  const float* from = row + x;
  for (int64_t i = 0; i < whole; ++i) {
    to[t + i] = from[4 * i];
    to[winograd::kBlockRow + t + i] = from[4 * i + 1];
    to[2 * winograd::kBlockRow + t + i] = from[4 * i + 2];
    to[3 * winograd::kBlockRow + t + i] = from[4 * i + 3];
  }
  for (t += whole, x += whole * winograd::kTile; t < tiles; ++t, x += winograd::kTile) {
    for (int64_t j = 0; j < winograd::kTile; ++j) {
      to[j * winograd::kBlockRow + t] = x + j < width ? row[x + j] : 0.0f;
    }
  }
}

// silu(normalised values) of a row of an image: those from column `x` on, as far as they lie in it.
// Returns where column 0 would be.
inline const float* ActivateRow(const float* row, int64_t width, int64_t x, int64_t count,
                                const winograd::ChannelNorm& norm, float* to) {
  const int64_t begin = std::max<int64_t>(0, x);
  const int64_t end = std::min(width, x + count);
  const auto mean = Simd::Set(norm.mean);
  const auto factor = Simd::Set(norm.factor);
  const auto shift = Simd::Set(norm.shift);
  int64_t i = begin;
  for (; i + Simd::kLanes <= end; i += Simd::kLanes) {
    const auto centred = Simd::Sub(Simd::Load(row + i), mean);
    Simd::Store(to + (i - begin), Silu(Simd::MulAdd(centred, factor, shift)));
  }
  if (i < end) {
    float last[Simd::kLanes] = {};
    std::copy_n(row + i, end - i, last);
    const auto centred = Simd::Sub(Simd::Load(last), mean);
    Simd::Store(to + (i - begin), Silu(Simd::MulAdd(centred, factor, shift)));
  }
  return to - begin;
}

// Calls run(image, row of tiles, column of tiles, first of the block, number) for each row of tiles that
// the block from tile `first` on, of at most `count` tiles, has a part of; returns how many there are.
template <class Run>
int64_t ForRuns(const winograd::TileGrid& grid, int64_t first, int64_t count, Run&& run) {
  int64_t n = 0;
  while (n < count && first + n < grid.count) {
    const int64_t tile = first + n;
    const int64_t column = tile % grid.columns;
    const int64_t row = tile / grid.columns % grid.rows;
    const int64_t tiles = std::min(count - n, grid.columns - column);
    run(tile / grid.columns / grid.rows, row, column, n, tiles);
    n += tiles;
  }
  return n;
}

// The values of one channel: phases [6][4][kBlockRow] of 3x3, rows [6][kBlockRow] of 3x1. norms: of each
// channel of each image, or null; `buffer`: of kImageRow floats.
template <int kFilterWidth>
struct Filler {
  static constexpr int64_t kRowsOfPhases = kFilterWidth == 1 ? 1 : winograd::kTile;
  static constexpr int64_t kCount = winograd::kBlock + (kFilterWidth == 1 ? 0 : 1);

  const ConvolutionParams& p;
  const winograd::ChannelNorm* norms;
  int64_t channels;
  int64_t channel;
  float* buffer;
  float* phases;

  void operator()(int64_t image, int64_t row, int64_t column, int64_t n, int64_t tiles) const {
    const int64_t plane = image * channels + channel;
    for (int64_t i = 0; i < winograd::kSide; ++i) {
      const int64_t y = row * winograd::kTile + i - 1;
      float* const to = phases + i * kRowsOfPhases * winograd::kBlockRow + n;
      if (y < 0 || y >= p.height) {
        for (int64_t j = 0; j < kRowsOfPhases; ++j) {
          std::fill_n(to + j * winograd::kBlockRow, tiles, 0.0f);
        }
        continue;
      }
      const float* from = p.x + (plane * p.height + y) * p.width;
      const int64_t x = kFilterWidth == 1 ? column : column * winograd::kTile - 1;
      if (norms) {
        from = ActivateRow(from, p.width, x, tiles * kRowsOfPhases, norms[plane], buffer);
      }
      if constexpr (kFilterWidth == 1) {
        std::copy_n(from + x, tiles, to);
      } else {
        SplitRow(from, p.width, x, tiles, to);
      }
    }
  }

  void Fill(const winograd::TileGrid& grid, int64_t first) const {
    const int64_t filled = ForRuns(grid, first, kCount, *this);
    for (int64_t i = 0; filled < kCount && i < winograd::kSide * kRowsOfPhases; ++i) {
      std::fill_n(phases + i * winograd::kBlockRow + filled, kCount - filled, 0.0f);
    }
  }
};

// The results of one out channel into the image, but for what lies outside of it.
template <int kFilterWidth>
struct Joiner {
  const ConvolutionParams& p;
  int64_t channels;
  int64_t channel;
  const float* phases;

  void operator()(int64_t image, int64_t row, int64_t column, int64_t n, int64_t tiles) const {
    float* const plane = p.out + (image * channels + channel) * p.height * p.width;
    for (int64_t i = 0; i < winograd::kTile && row * winograd::kTile + i < p.height; ++i) {
      float* const line = plane + (row * winograd::kTile + i) * p.width;
      if constexpr (kFilterWidth == 1) {
        std::copy_n(phases + i * winograd::kBlockRow + n, tiles, line + column);
      } else {
        JoinRow(phases + i * winograd::kTile * winograd::kBlockRow + n, tiles, p.width,
                column * winograd::kTile, line);
      }
    }
  }

  // Four rows of phases into a row of an image, from column x on.
  static void JoinRow(const float* from, int64_t tiles, int64_t width, int64_t x, float* line) {
    const int64_t whole = std::max<int64_t>(0, std::min(tiles, (width - x) / winograd::kTile));
    float* const to = line + x;
    for (int64_t t = 0; t < whole; ++t) {
      to[4 * t] = from[t];
      to[4 * t + 1] = from[winograd::kBlockRow + t];
      to[4 * t + 2] = from[2 * winograd::kBlockRow + t];
      to[4 * t + 3] = from[3 * winograd::kBlockRow + t];
    }
    if (whole == tiles) return;
    for (int64_t j = 0; j < winograd::kTile && x + whole * winograd::kTile + j < width; ++j) {
      to[whole * winograd::kTile + j] = from[j * winograd::kBlockRow + whole];
    }
  }
};

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
