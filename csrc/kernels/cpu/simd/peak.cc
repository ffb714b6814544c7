#include "kernels/cpu/simd/peak.h"

#include <algorithm>
#include <chrono>

#include "kernels/cpu/simd/amx_tiles.h"
#include "kernels/cpu/thread_pool.h"

namespace g4v::kernels {

constexpr int kChains = 12;  // independent ones: two units with a latency of four or five cycles

}  // namespace g4v::kernels

#define G4V_KERNEL_FILE "kernels/cpu/simd/peak_simd.h"
#include "kernels/cpu/simd/for_each_target.h"

#ifdef G4V_AMX

G4V_PUSH_TARGET(G4V_AMX_FEATURES)
namespace g4v::kernels::amx {

// `repeats` products of tiles, 16 x 32 x 16 multiply-adds each.
inline float MultiplyAdds(int64_t repeats) {
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
  for (int64_t i = 0; i < repeats; i += 4) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  return 0.0f;
}

}  // namespace g4v::kernels::amx
G4V_POP_TARGET

#endif  // G4V_AMX

namespace g4v::kernels {

namespace plain {

float MultiplyAdds(int64_t repeats) {
  float x[kChains];
  for (int c = 0; c < kChains; ++c) x[c] = 1.0f + static_cast<float>(c);
  for (int64_t i = 0; i < repeats; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) x[c] = x[c] * 0.999f + 0.001f;
  }
  float sum = 0;
  for (const float value : x) sum += value;
  return sum;
}

}  // namespace plain

namespace {

// Many short rounds: one of them has the cores for itself on a machine that others use too.
constexpr int64_t kRepeats = 1'000'000;
constexpr int kRounds = 16;

// Multiply-adds of one repeat.
int64_t PerRepeat(Isa isa) {
  if (isa >= Isa::kAvx512) return 16 * kChains;
  return isa == Isa::kAvx2 ? 8 * kChains : kChains;
}

struct Call {
  float (*multiply_adds)(int64_t repeats);
  volatile float sink;  // keeps the compiler from leaving the multiply-adds out
};

}  // namespace

double MultiplyAddPeak(int threads, Isa isa, [[maybe_unused]] DType dtype) {
  Call call{G4V_DISPATCH(isa, MultiplyAdds), 0.0f};
  int64_t each = PerRepeat(isa);
#ifdef G4V_AMX
  if (isa == Isa::kAmx && dtype == DType::kBFloat16) {
    call.multiply_adds = &amx::MultiplyAdds;
    each = 16 * 32 * 16;
  }
#endif
  ThreadPool pool(threads);
  const auto task = [](void* context, int64_t) {
    Call& of = *static_cast<Call*>(context);
    of.sink = of.multiply_adds(kRepeats);
  };
  double fastest = 1e30;
  for (int round = 0; round < kRounds; ++round) {  // the first wakes the clock
    const auto start = std::chrono::steady_clock::now();
    pool.Run(threads, task, &call);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    fastest = std::min(fastest, took.count());
  }
  return 2.0 * static_cast<double>(each * kRepeats) * threads / fastest;
}

}  // namespace g4v::kernels
