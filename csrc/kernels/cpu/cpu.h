// The abstractor's attention on the processor.
//
// Four versions of one operation: `plain` is the formula as it reads; `avx2` and `avx512` keep 16
// or 64 queries in vector lanes and walk over the keys (blocked.h), in float32 whatever the inputs
// are; `amx` multiplies in tiles of bfloat16 (tiles.h), values of float32 as sums of three of
// them. The best that the processor has is chosen at run time. All take their scratch memory from
// the caller and allocate nothing.
#pragma once

#include <cstddef>
#include <string>

#include "kernels/cross_attention.h"
#include "kernels/parallel.h"

namespace g4v::kernels {

constexpr int64_t kLargestHeadSize = 128;

enum class CpuVersion { kPlain, kAvx2, kAvx512, kAmx };
constexpr CpuVersion kCpuVersions[] = {CpuVersion::kAmx, CpuVersion::kAvx512, CpuVersion::kAvx2,
                                       CpuVersion::kPlain};  // best first

const char* Name(CpuVersion version);  // "plain", "avx2", "avx512", "amx"

// Whether this build, this processor and the operating system have it.
bool Available(CpuVersion version);
CpuVersion BestCpuVersion();

// Bytes of scratch memory that CrossAttentionCpu needs for these sizes and this many threads.
size_t CpuWorkspaceSize(const CrossAttentionParams& params, int threads, CpuVersion version);

// Writes params.out. `workspace` holds CpuWorkspaceSize bytes, aligned to 64; nothing of it is kept
// between calls. params must have passed CheckCrossAttention. For one version and number of threads
// the result is the same, bit for bit, however the tasks are scheduled.
void CrossAttentionCpu(const CrossAttentionParams& params, void* workspace, Parallel& parallel,
                       CpuVersion version);

// The version behind CpuVersion::kPlain, which needs no workspace.
void CrossAttentionPlain(const CrossAttentionParams& params, Parallel& parallel);

}  // namespace g4v::kernels
