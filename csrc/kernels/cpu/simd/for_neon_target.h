// Includes the header G4V_KERNEL_FILE once for NEON, where the processor is one of 64-bit ARM. Not
// guarded: see for_each_target.h.
#include "kernels/cpu/simd/targets.h"

#ifdef G4V_NEON

#define G4V_TARGET neon
#define G4V_TARGET_FEATURES G4V_NEON_FEATURES
#include G4V_KERNEL_FILE
#undef G4V_TARGET
#undef G4V_TARGET_FEATURES

#endif  // G4V_NEON

#undef G4V_KERNEL_FILE
