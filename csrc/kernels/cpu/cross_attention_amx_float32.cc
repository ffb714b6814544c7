// Only what lies between the pragmas may use the instructions: an inline function of a header that
// was compiled with them could be the copy that the linker keeps for everybody.
#include "kernels/cpu/versions.h"

#ifdef G4V_AMX

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "kernels/cpu/float16.h"
#include "kernels/cpu/rows.h"

#ifdef __clang__
#pragma clang attribute push(                                                                      \
    __attribute__((                                                                                \
        target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c,amx-tile,amx-bf16"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c,amx-tile,amx-bf16")
#endif

#include "kernels/cpu/simd_avx512.h"
// Some of the operations below are those of it.
#include "kernels/cpu/tiles.h"

namespace g4v::kernels {
namespace {
using Panels = TilePanels<3>;
}
}  // namespace g4v::kernels

// These are the products of:
#include "kernels/cpu/blocked.h"

namespace g4v::kernels {

size_t AmxFloat32WorkspaceSize(const CrossAttentionParams& params, int threads) {
  return BlockedWorkspaceSize(params, threads);
}

void CrossAttentionAmxFloat32(const CrossAttentionParams& params, void* workspace,
                              Parallel& parallel) {
  BlockedCall(params, workspace, parallel.threads()).Run(parallel);
}

}  // namespace g4v::kernels

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // G4V_AMX
