// Includes the header G4V_KERNEL_FILE once for each vector instruction set (see targets.h). Not
// guarded: a source file may do this for several headers.
#include "kernels/cpu/simd/targets.h"

#ifdef G4V_X86

#define G4V_TARGET avx2
#define G4V_TARGET_FEATURES G4V_AVX2_FEATURES
#include G4V_KERNEL_FILE
#undef G4V_TARGET
#undef G4V_TARGET_FEATURES

#define G4V_TARGET avx512
#define G4V_TARGET_FEATURES G4V_AVX512_FEATURES
#include G4V_KERNEL_FILE
#undef G4V_TARGET
#undef G4V_TARGET_FEATURES

#endif  // G4V_X86

#undef G4V_KERNEL_FILE
