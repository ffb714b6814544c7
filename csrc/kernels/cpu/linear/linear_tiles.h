// LinearPanels of linear_simd.h by matrix registers ("tiles"), for matrices of codes and several
// rows of x. Not guarded: it goes into a namespace G4V_TARGET that has linear_simd.h for vectors of
// 16 values, compiled with G4V_TARGET_FEATURES, and with
//
//   G4V_TILES   a class that owns the tiles while it lives, and
//
//     template <int kColumns> static void Product(int turn, const int8_t* a, int64_t stride,
//                                                 const int8_t* b, int32_t* sums)
//
//   writes the sums [16][16] of 16 rows of activations (codes, `stride` bytes apart) with 16 rows
//   of weights [kColumns / 4][16][4]. Calls with turn 0 and with turn 1 share no register, so that
//   one need not wait for the other.
//
// The sums of a block are integers; they are scaled and added as CodeSums does, with the same bits.
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/linear/linear_call.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

constexpr int64_t kFewestTileRows = 4;    // of the last tile: fewer are left to the vectors
constexpr int64_t kMostTileRows = 128;    // share a panel's unpacked codes
constexpr int64_t kTileBlockBytes = 512;  // of 32 columns of a panel in 8 bits
constexpr int64_t kUnpackedBlocks = 32;   // stay in the first cache while rows pass by

// Totals of rows of x with a panel.
using TileTotals = float[kMostTileRows][kPanelRows];

// Codes of 4 bits as those of 8: [block][8][16][4].
inline void UnpackInt4(const uint8_t* weights, int64_t blocks, int8_t* to) {
  const __m512i low = _mm512_set1_epi8(15);
  for (int64_t b = 0; b < blocks; ++b) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m512i both = _mm512_loadu_si512(weights + 64 * j);
      _mm512_store_si512(to + 64 * j, _mm512_and_si512(both, low));
      _mm512_store_si512(to + 256 + 64 * j, _mm512_and_si512(_mm512_srli_epi16(both, 4), low));
      __builtin_prefetch(weights + kPrefetchBytes + 64 * j, 0, kSecondCache);
    }
    weights += kTileBlockBytes / 2;
    to += kTileBlockBytes;
  }
}

// Blocks of a panel, and a tile of rows of x.
struct TileCall {
  const PackedMatrix& w;
  const QuantisedRows& x;
  int64_t row;
  int64_t panel;
  int64_t first;  // block
  int64_t last;
  const int8_t* codes;  // of the panel from the first block on, in 8 bits
};

// What the products of blocks are scaled with, from block 0 of the panel and of the first row on.
struct TileScales {
  explicit TileScales(const TileCall& call)
      : scales(call.w.scales + Bytes(call)),
        minima(call.w.minima ? call.w.minima + Bytes(call) : nullptr),
        a_scales(call.x.scales(call.row)),
        a_scaled_sums(call.x.scaled_sums(call.row)),
        a_sums(call.x.sums(call.row)),
        a_blocks(call.x.blocks()) {}

  static int64_t Bytes(const TileCall& call) {
    const auto bytes = static_cast<int64_t>(SizeOf(call.w.scale_dtype));
    return call.panel * call.w.blocks() * kPanelRows * bytes;
  }

  const char* scales;
  const char* minima;
  const float* a_scales;
  const float* a_scaled_sums;
  const int32_t* a_sums;
  int64_t a_blocks;  // from a row to the next
};

// One block: products [16][16] are scaled and added to the totals.
template <class Layout>
inline void AddProducts(const TileScales& from, int64_t block, const int32_t* products,
                        Simd::Vector (&totals)[kTileRows]) {
  constexpr int64_t kScaleBytes = static_cast<int64_t>(SizeOf(Layout::kScales));
  const int64_t lanes = block * kPanelRows * kScaleBytes;
  const int64_t a_block = block * Layout::kBlock / kActivationBlock;
  const auto scale = Simd::LoadAs(from.scales + lanes, Layout::kScales);
  auto minimum = Simd::Zero();
  if constexpr (Layout::kMinima) minimum = Simd::LoadAs(from.minima + lanes, Layout::kScales);
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) {
    const int64_t a = r * from.a_blocks + a_block;
    Integers sums = _mm512_load_si512(products + r * kPanelRows);
    if constexpr (Layout::kFourBits && !Layout::kMinima) {
      sums = Subtract(sums, 8 * (from.a_sums[2 * a] + from.a_sums[2 * a + 1]));
    }
    const auto factor = Simd::Mul(scale, Simd::Set(from.a_scales[a]));
    totals[r] = Simd::MulAdd(ToFloat(sums), factor, totals[r]);
    if constexpr (Layout::kMinima) {
      totals[r] = Simd::MulAdd(minimum, Simd::Set(from.a_scaled_sums[a]), totals[r]);
    }
  }
}

// The tiles make the products of a block while those of the block before are added.
template <class Layout>
inline void AddTile(const TileCall& call, float (*to)[kPanelRows]) {
  constexpr int kBlock = Layout::kBlock;
  const TileScales scales(call);
  const int64_t stride = call.x.stride();
  const int8_t* const a = call.x.codes(call.row);
  const int64_t first = call.first;
  const int64_t last = call.last;
  alignas(64) int32_t products[2][kTileRows * kPanelRows];
  const auto multiply = [&](int64_t block, int turn) {
    const int8_t* const b = call.codes + (block - first) * kBlock * kPanelRows;
    G4V_TILES::template Product<kBlock>(turn, a + block * kBlock, stride, b, products[turn]);
  };
  Simd::Vector totals[kTileRows];
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) totals[r] = Simd::Load(to[r]);
  multiply(first, 0);
  for (int64_t block = first; block < last; block += 2) {
    const bool odd = block + 1 < last;
    if (odd) multiply(block + 1, 1);
    AddProducts<Layout>(scales, block, products[0], totals);
    if (block + 2 < last) multiply(block + 2, 0);
    if (odd) AddProducts<Layout>(scales, block + 1, products[1], totals);
  }
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) Simd::Store(to[r], totals[r]);
}

// The totals of the rows `start` ... `end` - 1, in tiles: those of rows up to the end of the last
// tile have no meaning.
template <class Layout>
inline void AddTiles(const PackedMatrix& w, const QuantisedRows& x, int64_t start, int64_t end,
                     int64_t panel, TileTotals& totals) {
  constexpr int64_t kBlockBytes = kPanelRows * Layout::kBlock / (Layout::kFourBits ? 2 : 1);
  alignas(64) int8_t unpacked[Layout::kFourBits ? kUnpackedBlocks * kTileBlockBytes : 1];
  const uint8_t* weights = w.weights + panel * w.blocks() * kBlockBytes;
  for (int64_t first = 0; first < w.blocks(); first += kUnpackedBlocks) {
    const int64_t last = std::min(first + kUnpackedBlocks, w.blocks());
    const auto* codes = reinterpret_cast<const int8_t*>(weights + first * kBlockBytes);
    if constexpr (Layout::kFourBits) {
      UnpackInt4(weights + first * kBlockBytes, last - first, unpacked);
      codes = unpacked;
    }
    for (int64_t row = start; row < end; row += kTileRows) {
      AddTile<Layout>({w, x, row, panel, first, last, codes}, totals + (row - start));
    }
  }
}

inline void TileSums(const PackedMatrix& w, const QuantisedRows& x, int64_t start, int64_t end,
                     int64_t panel, TileTotals& totals) {
  std::fill_n(&totals[0][0], (end - start + kTileRows - 1) / kTileRows * kTileRows * kPanelRows,
              0.0f);
  WithLayoutOf(w,
               [&](auto layout) { AddTiles<decltype(layout)>(w, x, start, end, panel, totals); });
  if (!w.bias) return;
  const auto bias = BiasOf(w, panel * kPanelRows);
  for (int64_t r = 0; r < end - start; ++r) {
    Simd::Store(totals[r], Simd::Add(Simd::Load(totals[r]), bias));
  }
}

// Less than a whole tile of rows, which are single tokens of a few conversations, wait for memory:
// the vectors are fast enough for them.
void LinearPanelsByTiles(const LinearCall& call, int64_t first, int64_t last) {
  static_assert(kPanelVectors == 1);
  const PackedMatrix& w = call.matrix;
  const int64_t rows = call.x.rows;
  if (!HasCodes(w.kind) || (call.up && !HasCodes(call.up->kind)) || rows < kTileRows) {
    LinearPanels(call, first, last);
    return;
  }
  const int64_t left = rows % kTileRows < kFewestTileRows ? rows % kTileRows : 0;
  const G4V_TILES tiles;
  TileTotals sums;
  TileTotals up;
  for (int64_t start = 0; start < rows - left; start += kMostTileRows) {
    const int64_t end = std::min(start + kMostTileRows, rows - left);
    for (int64_t panel = first; panel < last; ++panel) {
      TileSums(w, *call.x.quantised, start, end, panel, sums);
      if (call.up) TileSums(*call.up, *call.x.quantised, start, end, panel, up);
      const int64_t column = panel * kPanelRows;
      for (int64_t r = 0; r < end - start; ++r) {
        auto sum = Simd::Load(sums[r]);
        if (call.up) sum = Simd::Mul(PortableSilu(sum), Simd::Load(up[r]));
        StoreSums(sum, w.rows - column, call.out.add,
                  call.out.values + (start + r) * call.out.stride + column);
      }
    }
  }
  if (left == 0) return;
  for (int64_t panel = first; panel < last; ++panel) LinearRange(call, rows - left, rows, panel, 0);
}

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
