// AMX tiles: a processor's matrix registers of 16 rows of 64 bytes. A product of two of bfloat16 is
//
//   C [16][16] += A [16][32] B [32][16],   B with its rows in pairs: [16 pairs][16 columns][2]
//
// with sums in float32. As the instruction has it, subnormal inputs count as zeros.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd/targets.h"

#ifdef G4V_AMX

#include <immintrin.h>

G4V_PUSH_TARGET(G4V_AMX_FEATURES)
namespace g4v::kernels::amx {

constexpr int64_t kTile = 16;        // rows of a tile; columns of 32 bits
constexpr int64_t kTileDepth = 32;   // of one product: bfloat16 values in a row of the left factor
constexpr int64_t kTileWords = 512;  // 16-bit values in a tile

// The compiler does not see which memory the tile instructions read and write: before and after
// them, nothing of it may be kept in registers.
inline void Fence() { __asm__ volatile("" ::: "memory"); }

// What the processor takes as the shapes of the tiles.
struct alignas(64) TileConfig {
  uint8_t palette = 0;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// All tiles with 16 rows of 64 bytes.
inline TileConfig WholeTiles() {
  TileConfig config;
  config.palette = 1;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = 64;
    config.rows[i] = kTile;
  }
  return config;
}

// Configures the tiles of this thread while it lives. Then the configuration of before is restored,
// since other libraries (ONNX Runtime, oneDNN) may rely on it.
class TileSession {
 public:
  explicit TileSession(const TileConfig& ours = WholeTiles()) {
    Fence();
    _tile_storeconfig(&before_);
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
  TileConfig before_;
};

// Transposes 16 x 16 values of 32 bits.
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

}  // namespace g4v::kernels::amx
G4V_POP_TARGET

#endif  // G4V_AMX
