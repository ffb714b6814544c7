// AMX tiles of bfloat16: their configuration, products of values that are sums of one, two or three
// of bfloat16 (kernels/cpu/gemm/gemm_amx.h), and how such sums and their tiles are made. Included
// only by a file that is compiled for them.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace g4v::kernels {
namespace {

constexpr int64_t kTile = 16;        // rows of a tile; columns of 32 bits
constexpr int64_t kTileKeys = 32;    // keys of a step: the depth of a product
constexpr int64_t kTileWords = 512;  // 16-bit values in a tile

// A tile that is read or written is memory that the compiler must not keep in registers.
inline void Fence() { __asm__ volatile("" ::: "memory"); }

// Tiles of a thread, all 16 x 64 bytes. Others' configuration (of ONNX Runtime, of oneDNN) is put
// back, since they may take for granted that it is still there.
class TileSession {
 public:
  TileSession() {
    Fence();
    _tile_storeconfig(&before_);
    Config ours{};
    ours.palette = 1;
    for (int i = 0; i < 8; ++i) {
      ours.row_bytes[i] = 64;
      ours.rows[i] = kTile;
    }
    Fence();
    _tile_loadconfig(&ours);
    Fence();
  }
  ~TileSession() {
    if (before_.palette == 0) {
      _tile_release();
    } else {
      _tile_loadconfig(&before_);
    }
  }
  TileSession(const TileSession&) = delete;
  TileSession& operator=(const TileSession&) = delete;

 private:
  struct alignas(64) Config {
    uint8_t palette;
    uint8_t start_row;
    uint8_t reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  };
  Config before_{};
};

// 16 x 16 values of 32 bits.
inline void Transpose(__m512i (&x)[16]) {
  __m512i y[16];
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {  // x[i + j] has column 4 * lane + j of rows i .. i + 3
    x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
  for (int j = 0; j < 4; ++j) {
    y[j] = _mm512_shuffle_i32x4(x[j], x[j + 4], 0x88);      // lanes 0 and 2 of both
    y[j + 4] = _mm512_shuffle_i32x4(x[j], x[j + 4], 0xDD);  // lanes 1 and 3
    y[j + 8] = _mm512_shuffle_i32x4(x[j + 8], x[j + 12], 0x88);
    y[j + 12] = _mm512_shuffle_i32x4(x[j + 8], x[j + 12], 0xDD);
  }
  for (int j = 0; j < 4; ++j) {
    x[j] = _mm512_shuffle_i32x4(y[j], y[j + 8], 0x88);
    x[j + 8] = _mm512_shuffle_i32x4(y[j], y[j + 8], 0xDD);
    x[j + 4] = _mm512_shuffle_i32x4(y[j + 4], y[j + 12], 0x88);
    x[j + 12] = _mm512_shuffle_i32x4(y[j + 4], y[j + 12], 0xDD);
  }
}

// A value as a sum of P of bfloat16, in float32; the largest part first, each of what the ones
// before left. Three hold all 24 bits however they are rounded: cutting bits off is the quickest.
template <int P>
inline void Split(__m512 x, __m512 (&pieces)[P]) {
  for (__m512& piece : pieces) {
    const __m512i bits =
        P == 3 ? _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(~0xFFFF))
               : _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x)), 16);
    piece = _mm512_castsi512_ps(bits);
    x = _mm512_sub_ps(x, piece);
  }
}

// Upper halves of both, side by side.
inline __m512i Pair(__m512 even, __m512 odd) {
  return _mm512_mask_blend_epi16(0xAAAAAAAAu, _mm512_srli_epi32(_mm512_castps_si512(even), 16),
                                 _mm512_castps_si512(odd));
}

// Pieces of 32 values as bfloat16, in their order.
inline __m512i Narrow(__m512 first, __m512 second) {
  return (__m512i)_mm512_cvtne2ps_pbh(second, first);
}

// The left factor of a step: two tiles, of each piece; those of the next piece `piece` values on.
struct LeftTiles {
  const uint16_t* tiles[2];
  int64_t stride;  // of a tile's rows, bytes
  int64_t piece;
};

template <int R>
inline void LoadLeft(const LeftTiles& a, int piece) {
  _tile_loadd(4, a.tiles[0] + piece * a.piece, a.stride);
  if constexpr (R == 2) _tile_loadd(5, a.tiles[1] + piece * a.piece, a.stride);
}

template <int C>
inline void LoadRight(const uint16_t* b, int piece) {
  _tile_loadd(6, b + piece * C * kTileWords, 64);
  if constexpr (C == 2) _tile_loadd(7, b + (piece * C + 1) * kTileWords, 64);
}

// `after` is called after each instruction.
template <int R, int C, class After>
inline void Multiply(After&& after) {
  _tile_dpbf16ps(0, 4, 6);
  after();
  if constexpr (C == 2) {
    _tile_dpbf16ps(1, 4, 7);
    after();
  }
  if constexpr (R == 2) {
    _tile_dpbf16ps(2, 5, 6);
    after();
  }
  if constexpr (R == 2 && C == 2) {
    _tile_dpbf16ps(3, 5, 7);
    after();
  }
}

// How many products of pieces make up one of values that are sums of P.
template <int P>
constexpr int kPieceProducts = P * (P + 1) / 2;

// R x C accumulators += the factors of a step, of P pieces; b: [P][C tiles]. Which pieces are
// multiplied is in kernels/cpu/gemm/gemm_amx.h; the order is that which loads the fewest tiles.
// `after` is called R * C * kPieceProducts<P> times.
template <int R, int C, int P, class After>
inline void Products(const LeftTiles& a, const uint16_t* b, After&& after) {
  static_assert(P >= 1 && P <= 3);
  LoadLeft<R>(a, 0);
  LoadRight<C>(b, P - 1);
  Multiply<R, C>(after);
  if constexpr (P == 2) {
    LoadRight<C>(b, 0);
    Multiply<R, C>(after);
    LoadLeft<R>(a, 1);
    Multiply<R, C>(after);
  }
  if constexpr (P == 3) {
    LoadRight<C>(b, 1);
    Multiply<R, C>(after);
    LoadLeft<R>(a, 1);
    Multiply<R, C>(after);
    LoadRight<C>(b, 0);
    Multiply<R, C>(after);
    LoadLeft<R>(a, 2);
    Multiply<R, C>(after);
    LoadLeft<R>(a, 0);
    Multiply<R, C>(after);
  }
}

template <int R, int C>
inline void ClearSums() {
  _tile_zero(0);
  if constexpr (C == 2) _tile_zero(1);
  if constexpr (R == 2) _tile_zero(2);
  if constexpr (R == 2 && C == 2) _tile_zero(3);
}

// The accumulators; the rows of one are `stride` bytes apart, the next column and the next row of
// them `column` and `next` values on.
template <int R, int C>
inline void LoadSums(const float* sums, int64_t stride, int64_t column, int64_t next) {
  _tile_loadd(0, sums, stride);
  if constexpr (C == 2) _tile_loadd(1, sums + column, stride);
  if constexpr (R == 2) _tile_loadd(2, sums + next, stride);
  if constexpr (R == 2 && C == 2) _tile_loadd(3, sums + next + column, stride);
}

template <int R, int C>
inline void StoreSums(float* sums, int64_t stride, int64_t column, int64_t next) {
  _tile_stored(0, sums, stride);
  if constexpr (C == 2) _tile_stored(1, sums + column, stride);
  if constexpr (R == 2) _tile_stored(2, sums + next, stride);
  if constexpr (R == 2 && C == 2) _tile_stored(3, sums + next + column, stride);
}

// S of 32 keys [32][P][padded D], as tiles [2][C][16][16]. q: [padded D / 32][P][C tiles].
template <int C, int P>
inline void TileScores(const uint16_t* k, const uint16_t* q, int64_t padded, float* scores) {
  Fence();
  ClearSums<2, C>();
  const int64_t row = P * padded;
  for (int64_t d = 0; d < padded; d += 32, q += P * C * kTileWords) {
    Products<2, C, P>({{k + d, k + kTile * row + d}, row * 2, padded}, q, [] {});
  }
  StoreSums<2, C>(scores, 64, kTile * kTile, C * kTile * kTile);
  Fence();
}

// O [R * 16][C * 16] += V^T P of `steps` * 32 keys. v: [steps][P][D][32], from the first row on;
// weights: [steps][P][C tiles].
template <int R, int C, int P>
inline void SumRows(const uint16_t* v, const uint16_t* weights, int64_t head_size, int64_t steps,
                    float* out) {
  LoadSums<R, C>(out, C * 64, kTile, C * kTile * kTile);
  for (int64_t i = 0; i < steps; ++i, v += P * head_size * kTileKeys) {
    Products<R, C, P>({{v, v + kTileWords}, 64, head_size * kTileKeys},
                      weights + i * P * C * kTileWords, [] {});
  }
  StoreSums<R, C>(out, C * 64, kTile, C * kTile * kTile);
}

// O [D][C * 16] += V^T P.
template <int C, int P>
inline void TileSums(const uint16_t* v, const uint16_t* weights, int64_t head_size, int64_t steps,
                     float* out) {
  Fence();
  int64_t d = 0;
  for (; d + 32 <= head_size; d += 32) {
    SumRows<2, C, P>(v + d * kTileKeys, weights, head_size, steps, out + d * C * kTile);
  }
  if (d < head_size) {  // of 80
    SumRows<1, C, P>(v + d * kTileKeys, weights, head_size, steps, out + d * C * kTile);
  }
  Fence();
}

}  // namespace
}  // namespace g4v::kernels
