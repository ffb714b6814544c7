// The tiles of AMX as linear_tiles.h uses them.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd/amx_tiles.h"
#include "kernels/cpu/simd/targets.h"

#ifdef G4V_AMX

G4V_PUSH_TARGET(G4V_AMX_INT8_FEATURES)
namespace g4v::kernels {

// Tiles 0 and 1 are for sums; 2 and 3, 4 and 5 for activations and weights of 32 columns; 6 and 7
// for those of 16.
class AmxInt8Tiles {
 public:
  template <int kColumns>
  static void Product(int turn, const int8_t* a, int64_t stride, const int8_t* b, int32_t* sums) {
    static_assert(kColumns == 16 || kColumns == 32);
    amx::Fence();
    if (turn == 0) {
      _tile_zero(0);
      if constexpr (kColumns == 32) {
        _tile_loadd(2, a, stride);
        _tile_loadd(4, b, 64);
        _tile_dpbssd(0, 2, 4);
      } else {
        _tile_loadd(6, a, stride);
        _tile_loadd(7, b, 64);
        _tile_dpbssd(0, 6, 7);
      }
      _tile_stored(0, sums, 64);
    } else {
      _tile_zero(1);
      if constexpr (kColumns == 32) {
        _tile_loadd(3, a, stride);
        _tile_loadd(5, b, 64);
        _tile_dpbssd(1, 3, 5);
      } else {
        _tile_loadd(6, a, stride);
        _tile_loadd(7, b, 64);
        _tile_dpbssd(1, 6, 7);
      }
      _tile_stored(1, sums, 64);
    }
    amx::Fence();
  }

 private:
  static amx::TileConfig Shapes() {
    amx::TileConfig config = amx::WholeTiles();
    for (const int activations : {2, 3}) config.row_bytes[activations] = 32;
    config.row_bytes[6] = 16;
    for (const int weights : {4, 5}) config.rows[weights] = 32 / 4;
    config.rows[7] = 16 / 4;
    return config;
  }

  amx::TileSession session_{Shapes()};
};

}  // namespace g4v::kernels
G4V_POP_TARGET

#endif  // G4V_AMX
