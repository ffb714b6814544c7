// Flash attention on AMX.
#include "kernels/cpu/simd/targets.h"

#ifdef G4V_AMX

#define G4V_TARGET amx
#define G4V_TARGET_FEATURES G4V_AMX_FEATURES
#include "kernels/cpu/attention/flash_attention.h"
#include "kernels/cpu/attention/micro_kernel_amx.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::amx {

size_t FlashAttentionWorkspaceSize(const CrossAttentionParams& params, int threads) {
  return params.dtype == DType::kBFloat16 ? WorkspaceSize<MicroKernel<1>>(params, threads)
                                          : WorkspaceSize<MicroKernel<3>>(params, threads);
}

void FlashAttention(const CrossAttentionParams& params, void* workspace, Parallel& parallel) {
  if (params.dtype == DType::kBFloat16) {
    FlashAttentionCall<MicroKernel<1>>(params, workspace, parallel.threads()).Run(parallel);
  } else {
    FlashAttentionCall<MicroKernel<3>>(params, workspace, parallel.threads()).Run(parallel);
  }
}

}  // namespace g4v::kernels::amx
G4V_END_TARGET

#endif  // G4V_AMX
