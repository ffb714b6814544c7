// The entry points of the vector versions, each in a file compiled with its own flags.
#pragma once

#include "kernels/cpu/cpu.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define G4V_X86
#endif

// The build checks whether the compiler knows the tiles.
#if defined(G4V_X86) && defined(__linux__) && defined(G4V_COMPILER_HAS_AMX)
#define G4V_AMX
#endif

namespace g4v::kernels {

size_t Avx2WorkspaceSize(const CrossAttentionParams& params, int threads);
void CrossAttentionAvx2(const CrossAttentionParams& params, void* workspace, Parallel& parallel);

size_t Avx512WorkspaceSize(const CrossAttentionParams& params, int threads);
void CrossAttentionAvx512(const CrossAttentionParams& params, void* workspace, Parallel& parallel);

// Whether there are tiles of bfloat16, and conversions to it. Asks the system for the tiles, once.
bool AmxAvailable();
// On processors that also have AVX-512; what is not bfloat16 in sums of three of it.
size_t AmxWorkspaceSize(const CrossAttentionParams& params, int threads);
void CrossAttentionAmx(const CrossAttentionParams& params, void* workspace, Parallel& parallel);
void AmxProducts(int64_t count);  // of 16 x 32 x 16 multiply-adds, for measuring

}  // namespace g4v::kernels
