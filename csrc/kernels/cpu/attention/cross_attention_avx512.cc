// Only what lies between the pragmas may use the instructions: an inline function of a header that
// was compiled with them could be the copy that the linker keeps for everybody.
#include "kernels/cpu/simd/targets.h"

#ifdef G4V_X86

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/cpu/attention/rows.h"
#include "kernels/cpu/float16.h"

#ifdef __clang__
#pragma clang attribute push(                                                    \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif

#include "kernels/cpu/simd/simd_avx512.h"
// The operations above are those of:
#include "kernels/cpu/attention/micro_kernel.h"
// and these those of:
#include "kernels/cpu/attention/flash_attention.h"

namespace g4v::kernels {

size_t Avx512WorkspaceSize(const CrossAttentionParams& params, int threads) {
  return BlockedWorkspaceSize<VectorPanels>(params, threads);
}

void CrossAttentionAvx512(const CrossAttentionParams& params, void* workspace, Parallel& parallel) {
  BlockedCall<VectorPanels>(params, workspace, parallel.threads()).Run(parallel);
}

}  // namespace g4v::kernels

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // G4V_X86
