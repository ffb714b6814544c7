// The entry points of the vector versions, each in a file compiled with its own flags.
#pragma once

#include "kernels/cpu/cpu.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define G4V_X86
#endif

namespace g4v::kernels {

size_t Avx2WorkspaceSize(const CrossAttentionParams& params, int threads);
void CrossAttentionAvx2(const CrossAttentionParams& params, void* workspace, Parallel& parallel);

size_t Avx512WorkspaceSize(const CrossAttentionParams& params, int threads);
void CrossAttentionAvx512(const CrossAttentionParams& params, void* workspace, Parallel& parallel);

}  // namespace g4v::kernels
