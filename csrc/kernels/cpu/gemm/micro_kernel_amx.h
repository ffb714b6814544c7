// The micro-kernel of products on AMX: R x C accumulators of 16 x 16 values stay in tiles 0 to 3,
// the left factor is loaded to tiles 4 and 5, the right one to 6 and 7. A factor is bfloat16, or
// float32 that is split in two or three terms of bfloat16 (gemm_amx.h).
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/simd/amx_tiles.h"
#include "kernels/cpu/simd/targets.h"

#ifdef G4V_AMX

G4V_PUSH_TARGET(G4V_AMX_FEATURES)
namespace g4v::kernels::amx {

// The left factor of a step: two tiles of each term.
struct LeftTiles {
  const uint16_t* tiles[2];  // of the first term
  int64_t stride;            // bytes from a row of a tile to the next
  int64_t term;              // values from a tile to that of the next term
};

template <int R>
inline void LoadLeft(const LeftTiles& a, int term) {
  _tile_loadd(4, a.tiles[0] + term * a.term, a.stride);
  if constexpr (R == 2) _tile_loadd(5, a.tiles[1] + term * a.term, a.stride);
}

template <int C>
inline void LoadRight(const uint16_t* b, int term) {
  _tile_loadd(6, b + term * C * kTileWords, 64);
  if constexpr (C == 2) _tile_loadd(7, b + (term * C + 1) * kTileWords, 64);
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

// How many products of terms make up one product of values that are split in kTerms.
template <int kTerms>
constexpr int kTermProducts = kTerms * (kTerms + 1) / 2;

// The micro-kernel: R x C accumulators += the factors of a step; b: [kTerms][C tiles]. gemm_amx.h
// says which terms are multiplied; their order here is the one that loads the fewest tiles.
// `after` is called R * C * kTermProducts<kTerms> times.
template <int R, int C, int kTerms, class After>
inline void Products(const LeftTiles& a, const uint16_t* b, After&& after) {
  static_assert(kTerms >= 1 && kTerms <= 3);
  LoadLeft<R>(a, 0);
  LoadRight<C>(b, kTerms - 1);
  Multiply<R, C>(after);
  if constexpr (kTerms == 2) {
    LoadRight<C>(b, 0);
    Multiply<R, C>(after);
    LoadLeft<R>(a, 1);
    Multiply<R, C>(after);
  }
  if constexpr (kTerms == 3) {
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

// The accumulators from memory. Rows of one are `stride` bytes apart; the accumulator in the next
// column begins `column` values after it, that in the next row `next` values.
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

}  // namespace g4v::kernels::amx
G4V_POP_TARGET

#endif  // G4V_AMX
