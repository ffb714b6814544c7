// The vector kernels, compiled for each instruction set, and the choice among all.
#include "kernels/cpu/attention/attention.h"

#define G4V_KERNEL_FILE "kernels/cpu/attention/flash_attention_simd.h"
#include "kernels/cpu/simd/for_each_target.h"

namespace g4v::kernels {

#ifdef G4V_AMX
namespace amx {
size_t FlashAttentionWorkspaceSize(const CrossAttentionParams& params, int threads);
void FlashAttention(const CrossAttentionParams& params, void* workspace, Parallel& parallel);
}  // namespace amx
#endif

size_t CpuWorkspaceSize([[maybe_unused]] const CrossAttentionParams& params,
                        [[maybe_unused]] int threads, Isa isa) {
  switch (isa) {
#ifdef G4V_AMX
    case Isa::kAmx:
      return amx::FlashAttentionWorkspaceSize(params, threads);
#endif
#ifdef G4V_X86
    case Isa::kAvx512:
      return avx512::FlashAttentionWorkspaceSize(params, threads);
    case Isa::kAvx2:
      return avx2::FlashAttentionWorkspaceSize(params, threads);
#endif
    default:
      return 0;
  }
}

void CrossAttentionCpu(const CrossAttentionParams& params, [[maybe_unused]] void* workspace,
                       Parallel& parallel, Isa isa) {
  switch (isa) {
#ifdef G4V_AMX
    case Isa::kAmx:
      return amx::FlashAttention(params, workspace, parallel);
#endif
#ifdef G4V_X86
    case Isa::kAvx512:
      return avx512::FlashAttention(params, workspace, parallel);
    case Isa::kAvx2:
      return avx2::FlashAttention(params, workspace, parallel);
#endif
    default:
      return CrossAttentionPlain(params, parallel);
  }
}

}  // namespace g4v::kernels
