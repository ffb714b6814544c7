// SiLU over the vector class `Simd`. Not guarded: a kernel's header includes it once for each
// instruction set (targets.h).
#include "kernels/cpu/simd/simd.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

// silu(z) = max(z, 0) - |z| e / (1 + e) with e = exp(-|z|): for no z does this overflow.
inline Simd::Vector Silu(Simd::Vector z) {
  constexpr float kLog2e = 1.44269504088896341f;
  const auto size = Simd::Max(z, Simd::Sub(Simd::Zero(), z));
  const auto e = Simd::Exp2(Simd::Mul(size, Simd::Set(-kLog2e)));
  const auto share = Simd::Div(e, Simd::Add(Simd::Set(1.0f), e));
  return Simd::Sub(Simd::Max(z, Simd::Zero()), Simd::Mul(size, share));
}

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
