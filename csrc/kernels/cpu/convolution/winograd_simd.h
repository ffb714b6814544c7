// winograd.h over the vector class `Simd`. The lanes of a vector are tiles. Not guarded: winograd.cc
// includes it once for each instruction set (kernels/cpu/simd/targets.h).
//
// A thread takes kBlock tiles at a time through four steps:
//   1. the values of one channel, sorted by their column modulo 4 ("phases"), so that neighbouring
//      tiles are neighbours in memory;
//   2. B' d B of that channel: one value of each of the 36 products, [product][panel][channel][tile];
//   3. for each product a matrix product over the channels, [product][out channel][tile];
//   4. A' m A of each out channel, its results through phases into the image.
// In step 3 a panel of values stays in the level-2 cache while all weights of the product pass by.
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/convolution/winograd.h"
#include "kernels/cpu/convolution/winograd_rows_simd.h"
#include "kernels/cpu/convolution/winograd_tiles.h"
#include "kernels/cpu/convolution/winograd_transforms_simd.h"
#include "kernels/cpu/simd/simd.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

// Step 3 of one product: sums[o][tile] = sum over c of weight[o / R][c][o % R] * values[c][tile].
inline void MultiplyProduct(const float* weight, const float* values, int64_t channels,
                            int64_t out_channels, float* sums) {
  constexpr int kRows = WinogradTile::kRows;
  constexpr int kVectors = WinogradTile::kVectors;
  for (int64_t o = 0; o < out_channels; o += kRows) {
    for (int64_t t = 0; t < winograd::kBlock; t += WinogradTile::kPanel) {
      const float* a = weight + o * channels;
      const float* b = values + t * channels;
      WinogradVector acc[kRows][kVectors];
      for (int r = 0; r < kRows; ++r) {
        for (int c = 0; c < kVectors; ++c) acc[r][c] = Simd::Zero();
      }
      for (int64_t i = 0; i < channels; ++i) {
        WinogradVector v[kVectors];
        for (int c = 0; c < kVectors; ++c) v[c] = Simd::Load(b + c * Simd::kLanes);
        for (int r = 0; r < kRows; ++r) {
          const WinogradVector one = Simd::Set(a[r]);
          for (int c = 0; c < kVectors; ++c) acc[r][c] = Simd::MulAdd(one, v[c], acc[r][c]);
        }
        a += kRows;
        b += WinogradTile::kPanel;
      }
      for (int r = 0; r < kRows; ++r) {
        for (int c = 0; c < kVectors; ++c) {
          Simd::Store(sums + (o + r) * winograd::kBlock + t + c * Simd::kLanes, acc[r][c]);
        }
      }
    }
  }
}

template <int kFilterWidth>
void Blocks(const ConvolutionParams& p, const winograd::ChannelNorm* norms, const WinogradWeight& w,
            int64_t first, int64_t last, float* scratch) {
  const winograd::TileGrid grid(p, kFilterWidth);
  const int64_t products = winograd::Products(kFilterWidth);
  const int64_t channels = w.channels();
  const int64_t padded = winograd::Padded(w.out_channels());
  const int64_t value_stride = channels * winograd::kBlock;
  const int64_t sum_stride = padded * winograd::kBlock;
  const int64_t panel_stride = channels * WinogradTile::kPanel;
  float* const values = scratch;
  float* const sums = values + products * value_stride;
  float* const phases = sums + products * sum_stride;
  float* const buffer = phases + winograd::kPhases * winograd::kBlockRow;
  for (int64_t block = first; block < last; ++block) {
    const int64_t tile = block * winograd::kBlock;
    for (int64_t c = 0; c < channels; ++c) {
      Filler<kFilterWidth>{p, norms, channels, c, buffer, phases}.Fill(grid, tile);
      float* const to = values + c * WinogradTile::kPanel;
      if constexpr (kFilterWidth == 1) {
        TransformRows(phases, value_stride, panel_stride, to);
      } else {
        TransformChannel(phases, value_stride, panel_stride, to);
      }
    }
    for (int64_t i = 0; i < products; ++i) {
      MultiplyProduct(w.data() + i * padded * channels, values + i * value_stride, channels, padded,
                      sums + i * sum_stride);
    }
    for (int64_t o = 0; o < w.out_channels(); ++o) {
      const float* const of = sums + o * winograd::kBlock;
      if constexpr (kFilterWidth == 1) {
        TransformOutRows(of, sum_stride, w.bias()[o], phases);
      } else {
        TransformOutChannel(of, sum_stride, w.bias()[o], phases);
      }
      ForRuns(grid, tile, winograd::kBlock, Joiner<kFilterWidth>{p, w.out_channels(), o, phases});
    }
  }
}

// The tiles of blocks first ... last - 1.
void WinogradBlocks(const ConvolutionParams& p, const winograd::ChannelNorm* norms,
                    const WinogradWeight& w, int64_t first, int64_t last, float* scratch) {
  (w.filter_width() == 1 ? &Blocks<1> : &Blocks<3>)(p, norms, w, first, last, scratch);
}

// Mean and variance of `count` values, in parts of which each stays in the level-1 cache for its second
// pass (Chan, Golub and LeVeque, 1979, have the sum of the parts).
void MeanAndVariance(const float* x, int64_t count, double* mean, double* variance) {
  constexpr int64_t kPart = 4096;
  double middle = 0.0;
  double squares = 0.0;
  for (int64_t first = 0; first < count; first += kPart) {
    const float* const part = x + first;
    const int64_t size = std::min(kPart, count - first);
    const int64_t whole = size - size % Simd::kLanes;
    float lanes[Simd::kLanes];
    auto sums = Simd::Zero();
    for (int64_t i = 0; i < whole; i += Simd::kLanes) sums = Simd::Add(sums, Simd::Load(part + i));
    Simd::Store(lanes, sums);
    double sum = 0.0;
    for (const float lane : lanes) sum += lane;
    for (int64_t i = whole; i < size; ++i) sum += part[i];
    const auto average = static_cast<float>(sum / static_cast<double>(size));
    auto centred_squares = Simd::Zero();
    for (int64_t i = 0; i < whole; i += Simd::kLanes) {
      const auto centred = Simd::Sub(Simd::Load(part + i), Simd::Set(average));
      centred_squares = Simd::MulAdd(centred, centred, centred_squares);
    }
    Simd::Store(lanes, centred_squares);
    double around = 0.0;
    for (const float lane : lanes) around += lane;
    for (int64_t i = whole; i < size; ++i)
      around += double{part[i] - average} * (part[i] - average);
    const double of_part = sum / static_cast<double>(size);
    const double off = of_part - average;  // by rounding the average to float
    const double distance = of_part - middle;
    const double share = static_cast<double>(size) / static_cast<double>(first + size);
    squares += around - off * off * static_cast<double>(size) +
               distance * distance * static_cast<double>(first) * share;
    middle += distance * share;
  }
  *mean = middle;
  *variance = squares / static_cast<double>(count);
}

// Rows of a group of out channels: how WinogradWeight lays out its data.
int64_t WinogradRows() { return WinogradTile::kRows; }

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
