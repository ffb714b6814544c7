// Sums of products of rows of activations with a panel of a matrix, over the vector class `Simd` and
// the sums over a block of dot_*.h. Not guarded: linear_simd.h includes it.
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/linear/linear_call.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

constexpr int kPanelVectors = static_cast<int>(kPanelRows) / Simd::kLanes;

// The products of kRows rows of x, from `row` on, with kVectors vectors of a panel's rows.
template <int kRows, int kVectors>
using LinearSums = Simd::Vector[kRows][kVectors];

// What is fetched ahead of the weights that are multiplied with: few rows wait for memory alone, and
// the processor does not ask early enough itself. Into the second cache: of requests for the first a
// core has too few under way to use the memory's bandwidth.
constexpr int64_t kPrefetchBytes = 8192;
constexpr int kSecondCache = 2;  // the locality of __builtin_prefetch

template <DType kDType, int kRows, int kVectors, bool kFetch>
inline void FloatSums(const PackedMatrix& w, const float* x, int64_t panel, int vector,
                      LinearSums<kRows, kVectors>& sums) {
  constexpr int64_t kBytes = static_cast<int64_t>(SizeOf(kDType));
  const char* weights = reinterpret_cast<const char*>(w.weights) +
                        (panel * w.columns * kPanelRows + vector * Simd::kLanes) * kBytes;
  LinearSums<kRows, kVectors> total;
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) total[r][v] = Simd::Zero();
  }
  for (int64_t k = 0; k < w.columns; ++k) {
    // Values of 16 bits come fast enough by themselves.
    if constexpr (kDType == DType::kFloat32 && kFetch) {
      __builtin_prefetch(weights + kPrefetchBytes, 0, kSecondCache);
    }
    Simd::Vector column[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      column[v] = Simd::LoadAs(weights + v * Simd::kLanes * kBytes, kDType);
    }
    for (int r = 0; r < kRows; ++r) {
      const auto a = Simd::Set(x[r * w.columns + k]);
      for (int v = 0; v < kVectors; ++v) total[r][v] = Simd::MulAdd(a, column[v], total[r][v]);
    }
    weights += kPanelRows * kBytes;
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) sums[r][v] = total[r][v];
  }
}

// The biases of a vector's outputs, filled up with zeros.
inline Simd::Vector BiasOf(const PackedMatrix& w, int64_t first) {
  float lanes[Simd::kLanes] = {};
  for (int64_t i = 0; i < std::min<int64_t>(Simd::kLanes, w.rows - first); ++i) {
    lanes[i] = w.bias[first + i];
  }
  return Simd::Load(lanes);
}

// How a matrix of codes is stored.
template <int kBlockColumns, bool kHasFourBits, bool kHasMinima, DType kScaleDType>
struct CodeLayout {
  static constexpr int kBlock = kBlockColumns;
  static constexpr bool kFourBits = kHasFourBits;
  static constexpr bool kMinima = kHasMinima;
  static constexpr DType kScales = kScaleDType;
};

// Never inlined: where it is, GCC 12 keeps fewer sums in registers, and AVX2 takes 1.13 times as long
// for a prompt.
template <class Layout, int kRows, int kVectors, bool kFetch>
__attribute__((noinline)) inline void CodeSums(const PackedMatrix& w, const QuantisedRows& x,
                                               int64_t row, int64_t panel, int vector,
                                               LinearSums<kRows, kVectors>& sums) {
  constexpr int kBlock = Layout::kBlock;
  constexpr int kGroup = std::min(kRows, LinearTile::kGroup);
  static_assert(kRows % kGroup == 0);
  constexpr int64_t kBlockBytes = kPanelRows * kBlock / (Layout::kFourBits ? 2 : 1);
  constexpr int64_t kScaleBytes = static_cast<int64_t>(SizeOf(Layout::kScales));
  const int64_t blocks = w.blocks();
  const int64_t x_blocks = x.blocks();
  const int64_t first = (panel * blocks * kPanelRows + vector * Simd::kLanes) * kScaleBytes;
  const uint8_t* weights = w.weights + panel * blocks * kBlockBytes + vector * Simd::kLanes * 4;
  const char* scales = w.scales + first;
  const char* minima = w.minima + first;
  const int8_t* codes = x.codes(row);
  const float* const a_scales = x.scales(row);
  const float* const a_scaled_sums = x.scaled_sums(row);
  const int32_t* const a_sums = x.sums(row);
  // Not `sums`, which the compiler would keep in memory, as it does what a loop that it does not
  // unroll takes from an array.
  LinearSums<kRows, kVectors> total;
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) total[r][v] = Simd::Zero();
  }
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t a_block = b * kBlock / kActivationBlock;
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      const int64_t lanes = v * Simd::kLanes * kScaleBytes;
      const auto scale = Simd::LoadAs(scales + lanes, Layout::kScales);
      auto minimum = Simd::Zero();
      if constexpr (Layout::kMinima) minimum = Simd::LoadAs(minima + lanes, Layout::kScales);
#pragma GCC unroll 16
      for (int group = 0; group < kRows; group += kGroup) {
        const int8_t* a[kGroup];
        int32_t a_sum[kGroup];
#pragma GCC unroll 16
        for (int i = 0; i < kGroup; ++i) {
          const int r = group + i;
          a[i] = codes + r * x.stride();
          const int32_t* const halves = a_sums + 2 * r * x_blocks;
          a_sum[i] = kBlock == 16 ? halves[b] : halves[2 * b] + halves[2 * b + 1];
        }
        Integers products[kGroup];
        if constexpr (Layout::kFourBits) {
          DotInt4<kGroup>(weights + v * Simd::kLanes * 4, a, products);
        } else {
          DotInt8<kBlock, kGroup>(weights + v * Simd::kLanes * 4, a, a_sum, products);
        }
#pragma GCC unroll 16
        for (int i = 0; i < kGroup; ++i) {
          const int r = group + i;
          if constexpr (Layout::kFourBits && !Layout::kMinima) {
            products[i] = Subtract(products[i], 8 * a_sum[i]);
          }
          const auto factor = Simd::Mul(scale, Simd::Set(a_scales[r * x_blocks + a_block]));
          total[r][v] = Simd::MulAdd(ToFloat(products[i]), factor, total[r][v]);
          if constexpr (Layout::kMinima) {
            const auto sum = Simd::Set(a_scaled_sums[r * x_blocks + a_block]);
            total[r][v] = Simd::MulAdd(minimum, sum, total[r][v]);
          }
        }
      }
    }
    if constexpr (kFetch) {
      for (int64_t line = 0; line < kBlockBytes; line += 64) {
        __builtin_prefetch(weights + kPrefetchBytes + line, 0, kSecondCache);
      }
      __builtin_prefetch(scales + kPrefetchBytes / 8, 0, kSecondCache);
      if constexpr (Layout::kMinima) {
        __builtin_prefetch(minima + kPrefetchBytes / 8, 0, kSecondCache);
      }
    }
    weights += kBlockBytes;
    scales += kPanelRows * kScaleBytes;
    if constexpr (Layout::kMinima) minima += kPanelRows * kScaleBytes;
    codes += kBlock;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) sums[r][v] = total[r][v];
  }
}

template <int kBlock, bool kFourBits, bool kMinima, class Use>
inline void WithScalesOf(const PackedMatrix& w, Use&& use) {
  if (w.scale_dtype == DType::kFloat16) {
    use(CodeLayout<kBlock, kFourBits, kMinima, DType::kFloat16>{});
  } else {
    use(CodeLayout<kBlock, kFourBits, kMinima, DType::kFloat32>{});
  }
}

// use(layout) with that of a matrix of codes.
template <class Use>
inline void WithLayoutOf(const PackedMatrix& w, Use&& use) {
  if (w.kind == WeightKind::kInt4 && w.minima) {
    WithScalesOf<32, true, true>(w, use);
  } else if (w.kind == WeightKind::kInt4) {
    WithScalesOf<32, true, false>(w, use);
  } else if (w.block == 16) {
    WithScalesOf<16, false, false>(w, use);
  } else if (w.minima) {
    WithScalesOf<32, false, true>(w, use);
  } else {
    WithScalesOf<32, false, false>(w, use);
  }
}

template <int kRows, int kVectors, bool kFetch>
inline void Sums(const PackedMatrix& w, const LinearInput& x, int64_t row, int64_t panel,
                 int vector, LinearSums<kRows, kVectors>& sums) {
  const auto floats = [&]<DType kDType>() {
    FloatSums<kDType, kRows, kVectors, kFetch>(w, x.values + row * w.columns, panel, vector, sums);
  };
  if (w.kind == WeightKind::kFloat32) {
    floats.template operator()<DType::kFloat32>();
  } else if (w.kind == WeightKind::kFloat16) {
    floats.template operator()<DType::kFloat16>();
  } else if (w.kind == WeightKind::kBFloat16) {
    floats.template operator()<DType::kBFloat16>();
  } else {
    WithLayoutOf(w, [&](auto layout) {
      CodeSums<decltype(layout), kRows, kVectors, kFetch>(w, *x.quantised, row, panel, vector,
                                                          sums);
    });
  }
  if (!w.bias) return;
  for (int v = 0; v < kVectors; ++v) {
    const auto bias = BiasOf(w, panel * kPanelRows + (vector + v) * Simd::kLanes);
    for (int r = 0; r < kRows; ++r) sums[r][v] = Simd::Add(sums[r][v], bias);
  }
}

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
