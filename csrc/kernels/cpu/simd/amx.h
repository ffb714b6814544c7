// Whether AMX, the matrix instructions of Intel's processors, can be used.
#pragma once

#include "kernels/cpu/simd/targets.h"

namespace g4v::kernels {

#ifdef G4V_AMX
// Whether the processor has AMX for bfloat16 and AVX-512's conversions to it, and the operating
// system lets this process use AMX, for which it is asked once. Does not throw.
bool AmxAvailable();
#endif

}  // namespace g4v::kernels
