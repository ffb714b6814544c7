// The vector class `Simd` that kernels are written over: avx2::Simd and avx512::Simd have the same
// members, and inside the namespace G4V_TARGET the name `Simd` is the one of that instruction set.
#pragma once

#include "kernels/cpu/simd/targets.h"

#ifdef G4V_X86
#include "kernels/cpu/simd/simd_avx2.h"
#include "kernels/cpu/simd/simd_avx512.h"
#endif

#ifdef G4V_NEON
#include "kernels/cpu/simd/simd_neon.h"
#endif

#ifdef G4V_AMX
namespace g4v::kernels::amx {
using Simd = avx512::Simd;  // for all that is no product of tiles
}
#endif
