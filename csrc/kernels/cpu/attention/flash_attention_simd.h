// Flash attention over the vector class `Simd`. Not guarded: attention.cc includes it once for each
// instruction set (kernels/cpu/simd/targets.h).
#include <cstddef>

#include "kernels/cpu/attention/flash_attention.h"
#include "kernels/cpu/attention/micro_kernel.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

size_t FlashAttentionWorkspaceSize(const CrossAttentionParams& params, int threads) {
  return WorkspaceSize<MicroKernel>(params, threads);
}

void FlashAttention(const CrossAttentionParams& params, void* workspace, Parallel& parallel) {
  FlashAttentionCall<MicroKernel>(params, workspace, parallel.threads()).Run(parallel);
}

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
