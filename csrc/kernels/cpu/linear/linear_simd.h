// linear.h over the vector class `Simd` and the sums over a block of dot_*.h. Not guarded:
// linear.cc includes it once for each instruction set (kernels/cpu/simd/targets.h).
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/linear/linear_call.h"
#include "kernels/cpu/linear/quantise_simd.h"
#include "kernels/cpu/linear/sums_simd.h"
#include "kernels/cpu/simd/portable.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

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

template <int kRows, int kVectors, bool kFetch>
inline void LinearRows(const LinearCall& call, int64_t row, int64_t panel, int vector) {
  LinearSums<kRows, kVectors> sums;
  Sums<kRows, kVectors, kFetch>(call.matrix, call.x, row, panel, vector, sums);
  if (call.up) {
    LinearSums<kRows, kVectors> up;
    Sums<kRows, kVectors, kFetch>(*call.up, call.x, row, panel, vector, up);
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
      if (fetch) {
        LinearRows<kCount, 1, true>(call, row, panel, vector);
      } else {
        LinearRows<kCount, 1, false>(call, row, panel, vector);
      }
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
        LinearRows<1, kVectors, true>(call, 0, panel, v);
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

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
