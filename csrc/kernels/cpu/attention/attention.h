// The abstractor's attention on the CPU; kernels/cross_attention.h has the formula.
//
//   plain          the formula as it reads (attention_plain.cc)
//   avx2, avx512   flash attention with queries in vector lanes, in float32 whatever the inputs
//                  are (flash_attention.h, micro_kernel.h)
//   amx            flash attention whose products are those of AMX, in bfloat16; float32 and
//                  float16 are split in three of bfloat16 (flash_attention.h, micro_kernel_amx.h)
//
// None of them allocates: the caller gives the scratch memory.
#pragma once

#include <cstddef>

#include "kernels/cpu/dispatch.h"
#include "kernels/cross_attention.h"
#include "kernels/parallel.h"

namespace g4v::kernels {

constexpr int64_t kLargestHeadSize = 128;

// Bytes of scratch memory that CrossAttentionCpu needs for these sizes and this many threads.
size_t CpuWorkspaceSize(const CrossAttentionParams& params, int threads, Isa isa);

// Writes params.out. `workspace` holds CpuWorkspaceSize bytes, aligned to 64; nothing of it is kept
// between calls. params must have passed CheckCrossAttention, and `isa` must be available. For one
// instruction set and number of threads the result is the same, bit for bit, however the tasks are
// scheduled.
void CrossAttentionCpu(const CrossAttentionParams& params, void* workspace, Parallel& parallel,
                       Isa isa);

// The same in standard C++, which is Isa::kPlain; it needs no scratch memory.
void CrossAttentionPlain(const CrossAttentionParams& params, Parallel& parallel);

}  // namespace g4v::kernels
