// The transforms of winograd_simd.h, steps 2 and 4. Not guarded: winograd_simd.h includes it once for
// each instruction set.
#include <cstdint>

#include "kernels/cpu/convolution/winograd.h"
#include "kernels/cpu/convolution/winograd_tiles.h"
#include "kernels/cpu/simd/simd.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

// Of the micro-kernel: 8 x 3 accumulators of 32 registers, or 4 x 3 of 16.
struct WinogradTile {
  static constexpr int kRows = Simd::kLanes == 16 ? 8 : 4;
  static constexpr int kVectors = 3;
  static constexpr int64_t kPanel = kVectors * Simd::kLanes;  // tiles
  static_assert(winograd::kBlock % kPanel == 0 && winograd::kGroup % kRows == 0);
};

using WinogradVector = Simd::Vector;

// y = a * x + b, of a constant a.
inline WinogradVector Axpy(float a, WinogradVector x, WinogradVector b) {
  return Simd::MulAdd(Simd::Set(a), x, b);
}

// B' of one column or row: six values, `step` apart.
inline void TransformValues(const WinogradVector* d, int step, WinogradVector* to, int to_step) {
  const auto d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step];
  const auto even = Axpy(-4.0f, d2, d4);
  const auto odd = Axpy(-4.0f, d1, d3);
  const auto half_even = Simd::Sub(d4, d2);
  const auto half_odd = Simd::Mul(Simd::Set(2.0f), Simd::Sub(d3, d1));
  to[0] = Axpy(4.0f, d[0], Axpy(-5.0f, d2, d4));
  to[to_step] = Simd::Add(even, odd);
  to[2 * to_step] = Simd::Sub(even, odd);
  to[3 * to_step] = Simd::Add(half_even, half_odd);
  to[4 * to_step] = Simd::Sub(half_even, half_odd);
  to[5 * to_step] = Axpy(4.0f, d1, Axpy(-5.0f, d3, d[5 * step]));
}

// A' of one column or row: four results of six sums.
inline void TransformSums(const WinogradVector* m, int step, WinogradVector* to, int to_step) {
  const auto even = Simd::Add(m[step], m[2 * step]);
  const auto odd = Simd::Sub(m[step], m[2 * step]);
  const auto far_even = Simd::Add(m[3 * step], m[4 * step]);
  const auto far_odd = Simd::Sub(m[3 * step], m[4 * step]);
  to[0] = Simd::Add(m[0], Simd::Add(even, far_even));
  to[to_step] = Axpy(2.0f, far_odd, odd);
  to[2 * to_step] = Axpy(4.0f, far_even, even);
  to[3 * to_step] = Simd::Add(m[5 * step], Axpy(8.0f, far_odd, odd));
}

// Step 2: the phases of a channel to its values of the 36 products. stride: floats from the values of
// one product to those of the next.
inline void TransformChannel(const float* phases, int64_t stride, int64_t panel_stride, float* to) {
  for (int64_t t = 0; t < winograd::kBlock; t += Simd::kLanes) {
    WinogradVector rows[winograd::kProducts];
    for (int j = 0; j < winograd::kSide; ++j) {
      WinogradVector d[winograd::kSide];
      for (int i = 0; i < winograd::kSide; ++i) {
        d[i] =
            Simd::Load(phases + (i * winograd::kTile + j % winograd::kTile) * winograd::kBlockRow +
                       t + j / winograd::kTile);
      }
      TransformValues(d, 1, rows + j, winograd::kSide);
    }
    float* const at = to + t / WinogradTile::kPanel * panel_stride + t % WinogradTile::kPanel;
    for (int i = 0; i < winograd::kSide; ++i) {
      WinogradVector v[winograd::kSide];
      TransformValues(rows + i * winograd::kSide, 1, v, 1);
      for (int j = 0; j < winograd::kSide; ++j) {
        Simd::Store(at + (i * winograd::kSide + j) * stride, v[j]);
      }
    }
  }
}

// The same of 3x1, of which each product is of one row.
inline void TransformRows(const float* rows, int64_t stride, int64_t panel_stride, float* to) {
  for (int64_t t = 0; t < winograd::kBlock; t += Simd::kLanes) {
    WinogradVector d[winograd::kSide];
    WinogradVector v[winograd::kSide];
    for (int i = 0; i < winograd::kSide; ++i) d[i] = Simd::Load(rows + i * winograd::kBlockRow + t);
    TransformValues(d, 1, v, 1);
    float* const at = to + t / WinogradTile::kPanel * panel_stride + t % WinogradTile::kPanel;
    for (int i = 0; i < winograd::kSide; ++i) Simd::Store(at + i * stride, v[i]);
  }
}

// Step 4 up to phases: [4][4][kBlockRow] results of one out channel.
inline void TransformOutChannel(const float* sums, int64_t stride, float bias, float* phases) {
  for (int64_t t = 0; t < winograd::kBlock; t += Simd::kLanes) {
    WinogradVector rows[winograd::kTile * winograd::kSide];
    for (int j = 0; j < winograd::kSide; ++j) {
      WinogradVector m[winograd::kSide];
      for (int i = 0; i < winograd::kSide; ++i) {
        m[i] = Simd::Load(sums + (i * winograd::kSide + j) * stride + t);
      }
      TransformSums(m, 1, rows + j, winograd::kSide);
    }
    for (int i = 0; i < winograd::kTile; ++i) {
      WinogradVector y[winograd::kTile];
      TransformSums(rows + i * winograd::kSide, 1, y, 1);
      for (int j = 0; j < winograd::kTile; ++j) {
        Simd::Store(phases + (i * winograd::kTile + j) * winograd::kBlockRow + t,
                    Simd::Add(y[j], Simd::Set(bias)));
      }
    }
  }
}

// The same of 3x1: [4][kBlockRow].
inline void TransformOutRows(const float* sums, int64_t stride, float bias, float* rows) {
  for (int64_t t = 0; t < winograd::kBlock; t += Simd::kLanes) {
    WinogradVector m[winograd::kSide];
    WinogradVector y[winograd::kTile];
    for (int i = 0; i < winograd::kSide; ++i) m[i] = Simd::Load(sums + i * stride + t);
    TransformSums(m, 1, y, 1);
    for (int i = 0; i < winograd::kTile; ++i) {
      Simd::Store(rows + i * winograd::kBlockRow + t, Simd::Add(y[i], Simd::Set(bias)));
    }
  }
}

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
