// As in cross_attention_avx2.cc, only what lies between the pragmas may use the instructions.
#include "kernels/cpu/norm/norms_targets.h"

#ifdef G4V_X86

#include <immintrin.h>

#include <cmath>

#include "kernels/cpu/float16.h"
#include "kernels/cross_attention.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

#include "kernels/cpu/simd/simd_avx2.h"
// The operations above are those of:
#include "kernels/cpu/norm/norms_simd.h"

namespace g4v::kernels {

void SkipNormRowsAvx2(const SkipNormParams& params, int64_t first, int64_t last) {
  SkipNormRows(params, first, last);
}

void GatedNormRowsAvx2(const GatedNormParams& params, int64_t first, int64_t last) {
  GatedNormRows(params, first, last);
}

}  // namespace g4v::kernels

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // G4V_X86
