// Includes the header G4V_KERNEL_FILE once in the namespace `plain`, where the vector class has one
// lane (simd_plain.h): the version that runs on any processor. Not guarded: see for_each_target.h.
#include "kernels/cpu/simd/targets.h"

#define G4V_TARGET plain
#define G4V_TARGET_FEATURES G4V_PLAIN_FEATURES
#include G4V_KERNEL_FILE
#undef G4V_TARGET
#undef G4V_TARGET_FEATURES
#undef G4V_KERNEL_FILE
