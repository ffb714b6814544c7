// Whether AMX, the matrix instructions of Intel's processors, can be used.
#pragma once

#include "kernels/cpu/simd/targets.h"

namespace g4v::kernels {

#ifdef G4V_AMX
// Whether the processor has AMX for bfloat16 and AVX-512's conversions to it, and the operating
// system lets this process use AMX, for which it is asked once. Does not throw.
bool AmxAvailable();
// Whether AMX for 8-bit integers and VNNI of AVX-512 can be used besides. Does not throw.
bool AmxInt8Available();
#endif

}  // namespace g4v::kernels
