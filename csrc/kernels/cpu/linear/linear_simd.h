// linear.h over the vector class `Simd` and the sums over a block of dot_*.h. Not guarded:
// linear.cc includes it once for each instruction set (kernels/cpu/simd/targets.h).
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/cpu/linear/linear_call.h"
#include "kernels/cpu/simd/portable.h"

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

template <DType kDType, int kRows, int kVectors>
inline void FloatSums(const PackedMatrix& w, const float* x, int64_t panel, int vector, bool fetch,
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
    if (kDType == DType::kFloat32 && fetch) {
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

template <class Layout, int kRows, int kVectors>
inline void CodeSums(const PackedMatrix& w, const QuantisedRows& x, int64_t row, int64_t panel,
                     int vector, bool fetch, LinearSums<kRows, kVectors>& sums) {
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
    if (fetch) {
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

template <int kRows, int kVectors>
inline void Sums(const PackedMatrix& w, const LinearInput& x, int64_t row, int64_t panel,
                 int vector, bool fetch, LinearSums<kRows, kVectors>& sums) {
  const auto floats = [&]<DType kDType>() {
    FloatSums<kDType, kRows, kVectors>(w, x.values + row * w.columns, panel, vector, fetch, sums);
  };
  if (w.kind == WeightKind::kFloat32) {
    floats.template operator()<DType::kFloat32>();
  } else if (w.kind == WeightKind::kFloat16) {
    floats.template operator()<DType::kFloat16>();
  } else if (w.kind == WeightKind::kBFloat16) {
    floats.template operator()<DType::kBFloat16>();
  } else {
    WithLayoutOf(w, [&](auto layout) {
      CodeSums<decltype(layout), kRows, kVectors>(w, *x.quantised, row, panel, vector, fetch, sums);
    });
  }
  if (!w.bias) return;
  for (int v = 0; v < kVectors; ++v) {
    const auto bias = BiasOf(w, panel * kPanelRows + (vector + v) * Simd::kLanes);
    for (int r = 0; r < kRows; ++r) sums[r][v] = Simd::Add(sums[r][v], bias);
  }
}

// silu(z) = max(z, 0) - |z| e / (1 + e) with e = exp(-|z|): for no z does this overflow.
inline Simd::Vector PortableSilu(Simd::Vector z) {
  constexpr float kLog2e = 1.44269504088896341f;
  const auto size = Simd::Max(z, Simd::Sub(Simd::Zero(), z));
  const auto e = PortableExp2(Simd::Mul(size, Simd::Set(-kLog2e)));
  const auto share = Simd::Div(e, Simd::Add(Simd::Set(1.0f), e));
  return Simd::Sub(Simd::Max(z, Simd::Zero()), Simd::Mul(size, share));
}

// Writes the first `count` lanes.
inline void StoreSums(Simd::Vector sums, int64_t count, bool add, float* to) {
  if (count >= Simd::kLanes) {
    Simd::Store(to, add ? Simd::Add(Simd::Load(to), sums) : sums);
    return;
  }
  float lanes[Simd::kLanes];
  Simd::Store(lanes, sums);
  for (int64_t i = 0; i < count; ++i) to[i] = add ? to[i] + lanes[i] : lanes[i];
}

template <int kRows, int kVectors>
inline void LinearRows(const LinearCall& call, int64_t row, int64_t panel, int vector, bool fetch) {
  LinearSums<kRows, kVectors> sums;
  Sums<kRows, kVectors>(call.matrix, call.x, row, panel, vector, fetch, sums);
  if (call.up) {
    LinearSums<kRows, kVectors> up;
    Sums<kRows, kVectors>(*call.up, call.x, row, panel, vector, fetch, up);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = Simd::Mul(PortableSilu(sums[r][v]), up[r][v]);
      }
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    const int64_t first = panel * kPanelRows + (vector + v) * Simd::kLanes;
    for (int r = 0; r < kRows; ++r) {
      StoreSums(sums[r][v], call.matrix.rows - first, call.out.add,
                call.out.values + (row + r) * call.out.stride + first);
    }
  }
}

// Rows of activations that stay in the first cache while panels pass by.
inline int64_t RowsAtOnce(const PackedMatrix& w) {
  constexpr int64_t kBytes = 16 << 10;
  constexpr int64_t kRows = LinearTile::kRows;
  const int64_t row = w.columns * (HasCodes(w.kind) ? 1 : static_cast<int64_t>(sizeof(float)));
  return std::max<int64_t>(kBytes / row / kRows, 1) * kRows;
}

// The rows of x from `row` up to `end`, a tile of them at a time.
inline void LinearRange(const LinearCall& call, int64_t row, int64_t end, int64_t panel,
                        int vector) {
  constexpr int kRows = LinearTile::kRows;
  bool fetch = vector == 0;
  const auto take = [&]<int kCount>() {
    for (; row + kCount <= end; row += kCount) {
      LinearRows<kCount, 1>(call, row, panel, vector, fetch);
      fetch = false;
    }
  };
  take.template operator()<kRows>();
  if constexpr (kRows > 4) take.template operator()<4>();
  if constexpr (kRows > 2) take.template operator()<2>();
  if constexpr (kRows > 1) take.template operator()<1>();
}

// A single row takes the vectors of a panel together; several rows share what is read of one.
void LinearPanels(const LinearCall& call, int64_t first, int64_t last) {
  constexpr int kVectors = LinearTile::kVectors;
  if (call.x.rows == 1) {
    for (int64_t panel = first; panel < last; ++panel) {
      for (int v = 0; v < kPanelVectors; v += kVectors)
        LinearRows<1, kVectors>(call, 0, panel, v, true);
    }
    return;
  }
  const int64_t at_once = RowsAtOnce(call.matrix);
  for (int64_t start = 0; start < call.x.rows; start += at_once) {
    const int64_t end = std::min(start + at_once, call.x.rows);
    for (int64_t panel = first; panel < last; ++panel) {
      for (int v = 0; v < kPanelVectors; ++v) LinearRange(call, start, end, panel, v);
    }
  }
}

// The largest magnitude of a block, or NaN where a value is not finite.
inline float Largest(const float* block) {
  constexpr int32_t kInfinity = 0x7f800000;  // bits of NaN are above those of infinity
  const int32_t bits = LargestBits(block);
  return bits < kInfinity ? std::bit_cast<float>(bits) : std::numeric_limits<float>::quiet_NaN();
}

struct QuantisedBlock {
  int8_t* codes;
  int32_t* sums;
  float* scale;
  float* scaled_sum;
};

inline void QuantiseBlock(const float* values, const QuantisedBlock& to) {
  const float largest = Largest(values);
  RoundBlock(values, largest > 0.0f ? 127.0f / largest : 0.0f, to.codes);
  SumHalves(to.codes, to.sums);
  *to.scale = largest / 127.0f;
  *to.scaled_sum = *to.scale * static_cast<float>(to.sums[0] + to.sums[1]);
}

void QuantiseRow(const float* x, int64_t columns, int64_t row, QuantisedRows& to) {
  QuantisedBlock block{to.codes(row), to.sums(row), to.scales(row), to.scaled_sums(row)};
  for (; columns >= kActivationBlock; columns -= kActivationBlock) {
    QuantiseBlock(x, block);
    x += kActivationBlock;
    block = {block.codes + kActivationBlock, block.sums + 2, block.scale + 1, block.scaled_sum + 1};
  }
  if (columns == 0) return;
  float filled[kActivationBlock] = {};
  std::copy_n(x, columns, filled);
  QuantiseBlock(filled, block);
}

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
