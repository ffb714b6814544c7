// Products with packed weights (kernels/cpu/linear): against sums in float64 over the matrix that
// was packed, and the same bits on every instruction set and for any number of rows.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "kernels/cpu/float16.h"
#include "kernels/cpu/linear/linear.h"
#include "kernels/cpu/linear/linear_call.h"
#include "kernels/cpu/simd/targets.h"

#ifdef G4V_X86
// The kernel of AVX-VNNI with the same instruction of AVX-512 on half a register.
#define G4V_DPBUSD _mm256_dpbusd_epi32
#define G4V_TARGET half_vnni
#define G4V_TARGET_FEATURES G4V_VNNI_FEATURES
#include "kernels/cpu/linear/dot_avx_vnni.h"
#include "kernels/cpu/linear/linear_simd.h"
#undef G4V_TARGET

// The kernel of AMX with what its tiles do in C++.
#define G4V_TARGET by_tiles
#include "kernels/cpu/linear/dot_vnni.h"

namespace g4v::kernels::by_tiles {

using vnni::DotInt4;
using vnni::DotInt8;
using vnni::Integers;
using vnni::LargestBits;
using vnni::LinearTile;
using vnni::PortableExp2;
using vnni::RoundBlock;
using vnni::Simd;
using vnni::Subtract;
using vnni::SumHalves;
using vnni::ToFloat;

class Tiles {
 public:
  Tiles() { ++owners; }
  ~Tiles() { --owners; }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  template <int kColumns>
  static void Product(int, const int8_t* a, int64_t stride, const int8_t* b, int32_t* sums) {
    CHECK(owners == 1);
    ++products;
    for (int row = 0; row < 16; ++row) {
      for (int out = 0; out < 16; ++out) {
        int32_t& sum = sums[16 * row + out] = 0;
        for (int k = 0; k < kColumns; ++k) {
          sum += a[row * stride + k] * b[k / 4 * 64 + out * 4 + k % 4];
        }
      }
    }
  }

  static inline int owners = 0;
  static inline int64_t products = 0;
};

}  // namespace g4v::kernels::by_tiles

#define G4V_TILES Tiles
#include "kernels/cpu/linear/linear_simd.h"
#include "kernels/cpu/linear/linear_tiles.h"
#endif

namespace {

using namespace g4v::kernels;

struct Layout {
  WeightKind kind;
  int block;  // 0: floats
  bool minima;
  DType scales;
};
constexpr Layout kLayouts[] = {
    {WeightKind::kFloat32, 0, false, DType::kFloat32},
    {WeightKind::kFloat16, 0, false, DType::kFloat32},
    {WeightKind::kBFloat16, 0, false, DType::kFloat32},
    {WeightKind::kInt4, 32, false, DType::kFloat16},
    {WeightKind::kInt4, 32, true, DType::kFloat16},
    {WeightKind::kInt4, 32, true, DType::kFloat32},
    {WeightKind::kInt8, 32, false, DType::kFloat16},
    {WeightKind::kInt8, 32, true, DType::kFloat32},
    {WeightKind::kInt8, 16, false, DType::kFloat16},
};

// A random matrix, and the weights that it stands for.
struct Matrix {
  std::vector<double> values;  // [rows, columns]
  std::vector<uint8_t> weights;
  std::vector<char> scales, minima;
  std::vector<float> bias;
  PackedMatrix packed;
};

void Put(std::vector<char>& to, size_t index, DType dtype, float value) {
  if (dtype == DType::kFloat32) {
    std::memcpy(to.data() + index * 4, &value, 4);
  } else {
    const uint16_t half = FloatToFloat16(value);
    std::memcpy(to.data() + index * 2, &half, 2);
  }
}

float Rounded(DType dtype, float value) {
  return dtype == DType::kFloat32 ? value : Float16ToFloat(FloatToFloat16(value));
}

// Packs value by value, as packed_matrix.h describes the layout.
Matrix Make(const Layout& layout, int64_t rows, int64_t columns, std::mt19937& random) {
  std::normal_distribution<float> normal;
  Matrix m;
  m.packed.kind = layout.kind;
  m.packed.rows = rows;
  m.packed.columns = columns;
  m.packed.block = layout.block;
  m.packed.scale_dtype = layout.scales;
  m.values.assign(static_cast<size_t>(rows * columns), 0.0);
  const int64_t panels = m.packed.panels();
  if (layout.block == 0) {
    const size_t bytes = layout.kind == WeightKind::kFloat32 ? 4 : 2;
    m.weights.assign(static_cast<size_t>(panels * columns * 16) * bytes, 0);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) {
        float value = normal(random);
        const auto at = static_cast<size_t>((r / 16 * columns + c) * 16 + r % 16);
        if (bytes == 4) {
          std::memcpy(m.weights.data() + at * 4, &value, 4);
        } else {
          const bool brain = layout.kind == WeightKind::kBFloat16;
          const uint16_t half = brain ? FloatToBFloat16(value) : FloatToFloat16(value);
          std::memcpy(m.weights.data() + at * 2, &half, 2);
          value = brain ? BFloat16ToFloat(half) : Float16ToFloat(half);
        }
        m.values[static_cast<size_t>(r * columns + c)] = value;
      }
    }
  } else {
    const int64_t blocks = m.packed.blocks();
    const bool four = layout.kind == WeightKind::kInt4;
    const size_t count = static_cast<size_t>(panels * blocks * 16);
    m.weights.assign(count * static_cast<size_t>(layout.block) / (four ? 2 : 1), 0);
    m.scales.assign(count * SizeOf(layout.scales), 0);
    m.minima = m.scales;
    std::uniform_int_distribution<int> codes(four ? 0 : -128, four ? 15 : 127);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t b = 0; b < blocks; ++b) {
        const float scale = Rounded(layout.scales, 0.01f * normal(random));
        const float minimum = layout.minima ? Rounded(layout.scales, 0.1f * normal(random)) : 0.0f;
        const auto at = static_cast<size_t>((r / 16 * blocks + b) * 16 + r % 16);
        Put(m.scales, at, layout.scales, scale);
        Put(m.minima, at, layout.scales, minimum);
        for (int64_t k = 0; k < layout.block; ++k) {
          const int code = codes(random);
          const int64_t panel = (r / 16 * blocks + b) * 16 * layout.block;
          if (four) {
            const int64_t byte = panel / 2 + k % 16 / 4 * 64 + r % 16 * 4 + k % 4;
            m.weights[static_cast<size_t>(byte)] |= static_cast<uint8_t>(k < 16 ? code : code << 4);
          } else {
            const int64_t byte = panel + k / 4 * 64 + r % 16 * 4 + k % 4;
            m.weights[static_cast<size_t>(byte)] = static_cast<uint8_t>(code);
          }
          if (b * layout.block + k >= columns) continue;
          const int zero = four && !layout.minima ? 8 : 0;
          m.values[static_cast<size_t>(r * columns + b * layout.block + k)] =
              static_cast<double>(scale) * (code - zero) + minimum;
        }
      }
    }
    m.packed.scales = m.scales.data();
    if (layout.minima) m.packed.minima = m.minima.data();
  }
  for (int64_t r = 0; r < rows; ++r) m.bias.push_back(normal(random));
  m.packed.bias = m.bias.data();
  m.packed.weights = m.weights.data();
  return m;
}

std::vector<float> RandomRows(int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(count));
  for (float& value : x) value = normal(random);
  return x;
}

QuantisedRows Quantised(const std::vector<float>& x, int64_t rows, int64_t columns, Isa isa) {
  QuantisedRows quantised;
  quantised.Resize(rows, columns);
  for (int64_t r = 0; r < rows; ++r) {
    QuantiseRow(x.data() + r * columns, columns, r, quantised, isa);
  }
  return quantised;
}

std::vector<float> Product(const Matrix& m, const std::vector<float>& x, int64_t rows, Isa isa) {
  const QuantisedRows quantised = Quantised(x, rows, m.packed.columns, isa);
  std::vector<float> out(static_cast<size_t>(rows * m.packed.rows), 7.0f);
  const LinearInput input{rows, x.data(), &quantised};
  const int64_t middle = m.packed.panels() / 2;
  LinearPanels(m.packed, input, 0, middle, {out.data(), m.packed.rows, false}, isa);
  LinearPanels(m.packed, input, middle, m.packed.panels(), {out.data(), m.packed.rows, false}, isa);
  return out;
}

// On the activations as the kernel has them: its codes times their scales.
double Wanted(const Matrix& m, const std::vector<float>& x, int64_t row, int64_t out) {
  const int64_t columns = m.packed.columns;
  const QuantisedRows quantised = Quantised(x, row + 1, columns, Isa::kPlain);
  double sum = m.bias[static_cast<size_t>(out)];
  for (int64_t c = 0; c < columns; ++c) {
    const double a = HasCodes(m.packed.kind) ? static_cast<double>(quantised.codes(row)[c]) *
                                                   quantised.scales(row)[c / kActivationBlock]
                                             : x[static_cast<size_t>(row * columns + c)];
    sum += a * m.values[static_cast<size_t>(out * columns + c)];
  }
  return sum;
}

void TestProducts(std::mt19937& random) {
  for (const Layout& layout : kLayouts) {
    for (const int64_t columns : {64, 80, 224, 1376}) {
      const int64_t outs = 37;
      const int64_t most = 27;
      const Matrix m = Make(layout, outs, columns, random);
      const std::vector<float> x = RandomRows(most * columns, random);
      const std::vector<float> all = Product(m, x, most, Isa::kPlain);
      double worst = 0.0;
      for (const int64_t row : {int64_t{0}, most - 1}) {
        for (int64_t out = 0; out < outs; ++out) {
          const double wanted = Wanted(m, x, row, out);
          const double found = all[static_cast<size_t>(row * outs + out)];
          worst = std::max(worst, std::abs(found - wanted));
        }
      }
      CHECK(worst < 1e-5 * std::sqrt(static_cast<double>(columns)));
      for (const Isa isa : kIsas) {
        if (!Available(isa)) continue;
        for (const int64_t rows : {1, 2, 3, 5, 12, 27}) {
          const std::vector<float> some = Product(m, x, rows, isa);
          CHECK(std::memcmp(some.data(), all.data(), some.size() * sizeof(float)) == 0);
        }
      }
    }
  }
}

#ifdef G4V_X86
using Quantise = void(const float* x, int64_t columns, int64_t row, QuantisedRows& to);
using Panels = void(const LinearCall& call, int64_t first, int64_t last);

bool HasVnni() {
  const bool has = Available(Isa::kAvx512) && __builtin_cpu_supports("avx512vnni");
  if (!has) std::puts("skipped: no VNNI of AVX-512 here");
  return has;
}

std::vector<float> ProductBy(Quantise& quantise, Panels& panels, const Matrix& m, const Matrix* up,
                             const std::vector<float>& x, int64_t rows) {
  const int64_t columns = m.packed.columns;
  QuantisedRows quantised;
  quantised.Resize(rows, columns);
  for (int64_t r = 0; r < rows; ++r) quantise(x.data() + r * columns, columns, r, quantised);
  std::vector<float> out(static_cast<size_t>(rows * m.packed.rows), 0.25f);
  const LinearInput input{rows, x.data(), &quantised};
  const LinearOutput output{out.data(), m.packed.rows, up != nullptr};
  const LinearCall call{m.packed, up ? &up->packed : nullptr, input, output};
  const int64_t middle = m.packed.panels() / 2;
  panels(call, 0, middle);
  panels(call, middle, m.packed.panels());
  return out;
}

void TestAvxVnni(std::mt19937& random) {
  if (!HasVnni()) return;
  for (const Layout& layout : kLayouts) {
    for (const int64_t columns : {80, 1376}) {
      const Matrix m = Make(layout, 37, columns, random);
      for (const int64_t rows : {1, 2, 7, 27}) {
        const std::vector<float> x = RandomRows(rows * columns, random);
        CHECK(ProductBy(half_vnni::QuantiseRow, half_vnni::LinearPanels, m, nullptr, x, rows) ==
              Product(m, x, rows, Isa::kPlain));
      }
    }
  }
}

// Which rows go by tiles, and that they have the bits of the others. Matrices with more blocks than
// are unpacked at once, and more rows than share them.
void TestTiles(std::mt19937& random) {
  if (!HasVnni()) return;
  for (const Layout& layout : kLayouts) {
    for (const int64_t columns : {40, 80, 1056, 1376}) {
      const Matrix m = Make(layout, 37, columns, random);
      for (const int64_t rows : {1, 15, 16, 19, 20, 131, 150}) {
        const std::vector<float> x = RandomRows(rows * columns, random);
        by_tiles::Tiles::products = 0;
        CHECK(ProductBy(by_tiles::QuantiseRow, by_tiles::LinearPanelsByTiles, m, nullptr, x,
                        rows) == Product(m, x, rows, Isa::kPlain));
        const int64_t tiles = rows / 16 + (rows % 16 >= 4 ? 1 : 0);
        const bool whole = layout.block != 0 && rows >= 16;
        CHECK(by_tiles::Tiles::products ==
              (whole ? tiles * m.packed.panels() * m.packed.blocks() : 0));
      }
    }
  }
  const auto gated = [&](const Matrix& gate, const Matrix& up, int64_t rows) {
    const std::vector<float> x = RandomRows(rows * 96, random);
    CHECK(ProductBy(by_tiles::QuantiseRow, by_tiles::LinearPanelsByTiles, gate, &up, x, rows) ==
          ProductBy(half_vnni::QuantiseRow, half_vnni::LinearPanels, gate, &up, x, rows));
  };
  for (const Layout& gate : kLayouts) {
    for (const Layout& up : kLayouts) {
      gated(Make(gate, 20, 96, random), Make(up, 20, 96, random), 21);
    }
  }
}
#else
void TestAvxVnni(std::mt19937&) {}
void TestTiles(std::mt19937&) {}
#endif

void TestSwiGlu(std::mt19937& random) {
  const Matrix gate = Make(kLayouts[4], 20, 96, random);
  const Matrix up = Make(kLayouts[0], 20, 96, random);
  const std::vector<float> x = RandomRows(2 * 96, random);
  std::vector<float> first;
  for (const Isa isa : kIsas) {
    if (!Available(isa)) continue;
    const std::vector<float> g = Product(gate, x, 2, isa);
    const std::vector<float> u = Product(up, x, 2, isa);
    const QuantisedRows quantised = Quantised(x, 2, 96, isa);
    std::vector<float> out(2 * 20, 0.5f);
    SwiGluPanels(gate.packed, up.packed, {2, x.data(), &quantised}, 0, 2, {out.data(), 20, true},
                 isa);
    for (size_t i = 0; i < out.size(); ++i) {
      const double z = g[i];
      CHECK(std::abs(out[i] - (0.5 + z / (1.0 + std::exp(-z)) * u[i])) < 1e-5);
    }
    if (first.empty()) first = out;
    CHECK(out == first);
  }
}

void TestActivations(std::mt19937& random) {
  for (const Isa isa : kIsas) {
    if (!Available(isa)) continue;
    const std::vector<float> x = RandomRows(70, random);
    const QuantisedRows quantised = Quantised(x, 1, 70, isa);
    CHECK(quantised.blocks() * kActivationBlock == 96);
    int sum = 0;
    for (int64_t c = 0; c < 96; ++c) {
      const float step = quantised.scales(0)[c / 32];
      const int code = quantised.codes(0)[c];
      const float value = c < 70 ? x[static_cast<size_t>(c)] : 0.0f;
      CHECK(std::abs(static_cast<float>(code) * step - value) <= 0.5001f * step);
      sum += code;
      if (c % 16 == 15) {
        CHECK(quantised.sums(0)[c / 16] == sum);
        sum = 0;
      }
    }
  }
}

// What is not finite must not come out as a number.
void TestNotFinite(std::mt19937& random) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const Layout& layout : kLayouts) {
      const Matrix m = Make(layout, 16, 64, random);
      for (const Isa isa : kIsas) {
        if (!Available(isa)) continue;
        for (const size_t place : {0, 5, 31, 63}) {
          std::vector<float> x = RandomRows(64, random);
          x[place] = bad;
          for (const float y : Product(m, x, 1, isa)) CHECK(!std::isfinite(y));
        }
      }
    }
  }
}

}  // namespace

int main() {
  const unsigned seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  for (const Isa isa : kIsas) {
    if (!Available(isa)) std::fprintf(stderr, "%s: skipped, not on this processor\n", Name(isa));
  }
  TestProducts(random);
  TestAvxVnni(random);
  TestTiles(random);
  TestSwiGlu(random);
  TestActivations(random);
  TestNotFinite(random);
  return g4v::test::Finish();
}
