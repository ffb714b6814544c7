// Only what lies between the pragmas may use the instructions: an inline function of a header that
// was compiled with them could be the copy that the linker keeps for everybody.
#include "kernels/cpu/versions.h"

#ifdef G4V_AMX

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "kernels/cpu/float16.h"
#include "kernels/cpu/rows.h"

namespace g4v::kernels {
namespace {

// Linux gives a process the tiles' state only when it asks, once, for all its threads. It refuses
// where a signal stack is too small for the state.
bool AskForTiles() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool SystemSavesTiles() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  constexpr unsigned kSaves = 1u << 27;  // OSXSAVE: XCR0 can be read
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & kSaves)) return false;
  unsigned low = 0;
  unsigned high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr unsigned kTiles = 3u << 17;  // XTILECFG and XTILEDATA
  return (low & kTiles) == kTiles;
}

bool ProcessorHasTiles() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  constexpr unsigned kBFloat16 = 1u << 22;
  constexpr unsigned kTiles = 1u << 24;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kBFloat16) && (d & kTiles);
}

}  // namespace

bool AmxAvailable() {
  static const bool available = ProcessorHasTiles() && SystemSavesTiles() && AskForTiles();
  return available;
}

}  // namespace g4v::kernels

#ifdef __clang__
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,amx-tile,amx-bf16"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,amx-tile,amx-bf16")
#endif

#include "kernels/cpu/simd_avx512.h"
// Some of the operations below are those of it.
#include "kernels/cpu/tiles.h"
// These are the products of:
#include "kernels/cpu/blocked.h"

namespace g4v::kernels {

size_t AmxWorkspaceSize(const CrossAttentionParams& params, int threads) {
  return BlockedWorkspaceSize(params, threads);
}

void CrossAttentionAmx(const CrossAttentionParams& params, void* workspace, Parallel& parallel) {
  BlockedCall(params, workspace, parallel.threads()).Run(parallel);
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
