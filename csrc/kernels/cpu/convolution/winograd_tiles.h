// How winograd_simd.h divides an image into tiles, and its weights and scratch memory into blocks.
#pragma once

#include <cstdint>

#include "kernels/cpu/convolution/winograd.h"
#include "kernels/divide_up.h"

namespace g4v::kernels::winograd {

constexpr int64_t kTile = 4;                  // results along a side of a tile
constexpr int64_t kSide = kTile + 2;          // values that they are made of
constexpr int64_t kProducts = kSide * kSide;  // of 3x3; kSide of 3x1
constexpr int64_t kPhases = kSide * kTile;    // rows of Phases: see winograd_simd.h
constexpr int64_t kBlock = 48;                // tiles that a thread takes at once
constexpr int64_t kBlockRow = 64;  // floats of a row of Phases: those tiles, and one more

// The tiles of all images, one after the other, row by row. Of 3x3, each row has one tile more than the
// image needs, so that the tile after a tile always holds the values to its right; its result is
// dropped. Of 3x1 a tile is of one column.
struct TileGrid {
  TileGrid(const ConvolutionParams& p, int64_t filter_width)
      : rows(DivideUp(p.height, kTile)),
        columns(filter_width == 1 ? p.width : DivideUp(p.width, kTile) + 1),
        count(p.batch * rows * columns) {}

  int64_t blocks() const { return DivideUp(count, kBlock); }

  int64_t rows;
  int64_t columns;
  int64_t count;
};

// Channels are padded to this many, the most that a micro-kernel of any instruction set takes at once.
constexpr int64_t kGroup = 8;
inline int64_t Padded(int64_t channels) { return DivideUp(channels, kGroup) * kGroup; }

// What a channel of an image is normalised with: (x - mean) * factor + shift.
struct ChannelNorm {
  float mean;
  float factor;
  float shift;
};

// Floats of a thread's scratch memory: transformed values, sums, phases of one channel, and a row of
// the image.
constexpr int64_t kImageRow = (kBlock + 1) * kTile + 16;  // and a vector
inline int64_t Products(int64_t filter_width) { return filter_width == 1 ? kSide : kProducts; }
inline int64_t ScratchFloats(const WinogradWeight& w) {
  return Products(w.filter_width()) * (w.channels() + Padded(w.out_channels())) * kBlock +
         kPhases * kBlockRow + kImageRow;
}

}  // namespace g4v::kernels::winograd
