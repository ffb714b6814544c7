// Only what lies between the pragmas may use the instructions: an inline function of a header that
// was compiled with them could be the copy that the linker keeps for everybody.
#include "kernels/cpu/simd/targets.h"

#ifdef G4V_AMX

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "kernels/cpu/attention/rows.h"
#include "kernels/cpu/float16.h"

#ifdef __clang__
#pragma clang attribute push(                                                                      \
    __attribute__((                                                                                \
        target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c,amx-tile,amx-bf16"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c,amx-tile,amx-bf16")
#endif

#include "kernels/cpu/simd/simd_avx512.h"
// Some of the operations below are those of it.
#include "kernels/cpu/attention/attention_amx.h"
// These are the products of:
#include "kernels/cpu/attention/flash_attention.h"

namespace g4v::kernels {

size_t AmxWorkspaceSize(const CrossAttentionParams& params, int threads) {
  return params.dtype == DType::kBFloat16 ? BlockedWorkspaceSize<TilePanels<1>>(params, threads)
                                          : BlockedWorkspaceSize<TilePanels<3>>(params, threads);
}

void CrossAttentionAmx(const CrossAttentionParams& params, void* workspace, Parallel& parallel) {
  if (params.dtype == DType::kBFloat16) {
    BlockedCall<TilePanels<1>>(params, workspace, parallel.threads()).Run(parallel);
  } else {
    BlockedCall<TilePanels<3>>(params, workspace, parallel.threads()).Run(parallel);
  }
}

void AmxProducts(int64_t count) {
  // Numbers as they come, not zeros, which a processor may multiply with less power.
  alignas(64) uint16_t values[4][kTileWords];
  uint32_t random = 1;
  for (auto& tile : values) {
    for (uint16_t& value : tile) {
      random = random * 1664525u + 1013904223u;
      value = static_cast<uint16_t>((random >> 16 & 0x807F) | 0x3F80);  // 1 to 2, of either sign
    }
  }
  const TileSession session;
  Fence();
  _tile_loadd(4, values[0], 64);
  _tile_loadd(5, values[1], 64);
  _tile_loadd(6, values[2], 64);
  _tile_loadd(7, values[3], 64);
  for (int64_t i = 0; i < count; i += 4) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

}  // namespace g4v::kernels

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // G4V_AMX
