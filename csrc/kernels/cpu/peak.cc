#include "kernels/cpu/peak.h"

#include <algorithm>
#include <chrono>

#include "kernels/cpu/simd/targets.h"
#include "kernels/cpu/thread_pool.h"

#ifdef G4V_X86
#include <immintrin.h>
#endif

namespace g4v::kernels {
namespace {

constexpr int kChains = 12;  // independent ones: two units with a latency of four or five cycles
constexpr int64_t kRepeats = 4'000'000;

#ifdef G4V_X86

// The factor pulls every chain towards one, so that no value overflows or becomes subnormal.
__attribute__((target("avx512f"))) float Chains512() {
  __m512 x[kChains];
  for (int c = 0; c < kChains; ++c) x[c] = _mm512_set1_ps(1.0f + static_cast<float>(c));
  const __m512 a = _mm512_set1_ps(0.999f);
  const __m512 b = _mm512_set1_ps(0.001f);
  for (int64_t i = 0; i < kRepeats; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) x[c] = _mm512_fmadd_ps(x[c], a, b);
  }
  __m512 sum = x[0];
  for (int c = 1; c < kChains; ++c) sum = _mm512_add_ps(sum, x[c]);
  alignas(64) float lanes[16];
  _mm512_store_ps(lanes, sum);
  return lanes[0];
}

__attribute__((target("avx2,fma"))) float Chains256() {
  __m256 x[kChains];
  for (int c = 0; c < kChains; ++c) x[c] = _mm256_set1_ps(1.0f + static_cast<float>(c));
  const __m256 a = _mm256_set1_ps(0.999f);
  const __m256 b = _mm256_set1_ps(0.001f);
  for (int64_t i = 0; i < kRepeats; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) x[c] = _mm256_fmadd_ps(x[c], a, b);
  }
  __m256 sum = x[0];
  for (int c = 1; c < kChains; ++c) sum = _mm256_add_ps(sum, x[c]);
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, sum);
  return lanes[0];
}

#endif

float ChainsScalar() {
  float x[kChains];
  for (int c = 0; c < kChains; ++c) x[c] = 1.0f + static_cast<float>(c);
  for (int64_t i = 0; i < kRepeats; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) x[c] = x[c] * 0.999f + 0.001f;
  }
  float sum = 0;
  for (const float value : x) sum += value;
  return sum;
}

#ifdef G4V_AMX

float Tiles() {
  AmxProducts(kRepeats);
  return 0;
}

#endif

struct Call {
  float (*chains)();
  volatile float sink;  // keeps the compiler from leaving the chains out
};

}  // namespace

double MultiplyAddPeak(int threads, [[maybe_unused]] CpuVersion version,
                       [[maybe_unused]] DType dtype) {
  Call call{&ChainsScalar, 0.0f};
  double each = kChains;  // multiply-adds of a repeat
#ifdef G4V_AMX
  if (version == CpuVersion::kAmx && dtype == DType::kBFloat16) {
    call.chains = &Tiles;
    each = 16 * 32 * 16;
  } else
#endif
#ifdef G4V_X86
      if (version >= CpuVersion::kAvx512) {
    call.chains = &Chains512;
    each = 16 * kChains;
  } else if (version == CpuVersion::kAvx2) {
    call.chains = &Chains256;
    each = 8 * kChains;
  }
#endif
  ThreadPool pool(threads);
  const auto task = [](void* context, int64_t) {
    Call& of = *static_cast<Call*>(context);
    of.sink = of.chains();
  };
  double fastest = 1e30;
  for (int round = 0; round < 4; ++round) {  // the first wakes the clock
    const auto start = std::chrono::steady_clock::now();
    pool.Run(threads, task, &call);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    fastest = std::min(fastest, took.count());
  }
  return 2.0 * each * static_cast<double>(kRepeats) * threads / fastest;
}

}  // namespace g4v::kernels
