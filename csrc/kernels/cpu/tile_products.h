// AMX tiles of bfloat16: their configuration, the two products of tiles.h, and a transpose.
// Included only by a file that is compiled for them.
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

// Four accumulators (2 x C), two tiles of the left factor, two of the right.
template <int C>
inline void Products(const uint16_t* a0, const uint16_t* a1, int64_t a_stride, const uint16_t* b) {
  _tile_loadd(4, a0, a_stride);
  _tile_loadd(6, b, 64);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (C == 2) {
    _tile_loadd(7, b + kTileWords, 64);
    _tile_dpbf16ps(1, 4, 7);
  }
  _tile_loadd(5, a1, a_stride);
  _tile_dpbf16ps(2, 5, 6);
  if constexpr (C == 2) _tile_dpbf16ps(3, 5, 7);
}

// S of 32 keys [32][padded D], as tiles [2][C][16][16].
template <int C>
inline void TileScores(const uint16_t* k, const uint16_t* q, int64_t padded, float* scores) {
  Fence();
  _tile_zero(0);
  _tile_zero(2);
  if constexpr (C == 2) {
    _tile_zero(1);
    _tile_zero(3);
  }
  for (int64_t d = 0; d < padded; d += 32, q += C * kTileWords) {
    Products<C>(k + d, k + kTile * padded + d, padded * 2, q);
  }
  constexpr int64_t kValues = kTile * kTile;
  _tile_stored(0, scores, 64);
  if constexpr (C == 2) _tile_stored(1, scores + kValues, 64);
  _tile_stored(2, scores + C * kValues, 64);
  if constexpr (C == 2) _tile_stored(3, scores + 3 * kValues, 64);
  Fence();
}

// O [D][C * 16] += V^T P of `steps` * 32 keys.
template <int C>
inline void TileSums(const uint16_t* v, const uint16_t* weights, int64_t head_size, int64_t steps,
                     float* out) {
  Fence();
  int64_t d = 0;
  for (; d + 32 <= head_size; d += 32) {
    float* low = out + d * C * kTile;
    float* high = low + kTile * C * kTile;
    _tile_loadd(0, low, C * 64);
    if constexpr (C == 2) _tile_loadd(1, low + kTile, C * 64);
    _tile_loadd(2, high, C * 64);
    if constexpr (C == 2) _tile_loadd(3, high + kTile, C * 64);
    for (int64_t i = 0; i < steps; ++i) {
      const uint16_t* a = v + (i * head_size + d) * kTileKeys;
      Products<C>(a, a + kTileWords, 64, weights + i * C * kTileWords);
    }
    _tile_stored(0, low, C * 64);
    if constexpr (C == 2) _tile_stored(1, low + kTile, C * 64);
    _tile_stored(2, high, C * 64);
    if constexpr (C == 2) _tile_stored(3, high + kTile, C * 64);
  }
  if (d < head_size) {  // of 80
    float* low = out + d * C * kTile;
    _tile_loadd(0, low, C * 64);
    if constexpr (C == 2) _tile_loadd(1, low + kTile, C * 64);
    for (int64_t i = 0; i < steps; ++i) {
      _tile_loadd(4, v + (i * head_size + d) * kTileKeys, 64);
      const uint16_t* b = weights + i * C * kTileWords;
      _tile_loadd(6, b, 64);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (C == 2) {
        _tile_loadd(7, b + kTileWords, 64);
        _tile_dpbf16ps(1, 4, 7);
      }
    }
    _tile_stored(0, low, C * 64);
    if constexpr (C == 2) _tile_stored(1, low + kTile, C * 64);
  }
  Fence();
}

}  // namespace
}  // namespace g4v::kernels
