// Multiply-adds on registers, for peak.cc. Not guarded: see targets.h.
#include <cstdint>

#include "kernels/cpu/simd/simd.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

// `repeats` multiply-adds of each of kChains vectors. The factor pulls every chain towards one, so
// that no value overflows or becomes subnormal.
inline float MultiplyAdds(int64_t repeats) {
  Simd::Vector x[kChains];
  for (int c = 0; c < kChains; ++c) x[c] = Simd::Set(1.0f + static_cast<float>(c));
  const auto a = Simd::Set(0.999f);
  const auto b = Simd::Set(0.001f);
  for (int64_t i = 0; i < repeats; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) x[c] = Simd::MulAdd(x[c], a, b);
  }
  auto sum = x[0];
  for (int c = 1; c < kChains; ++c) sum = Simd::Add(sum, x[c]);
  float lanes[Simd::kLanes];
  Simd::Store(lanes, sum);
  return lanes[0];
}

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
