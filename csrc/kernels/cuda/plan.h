// What a call will do, decided on the host from sizes, strides and the GPU's description alone: no
// CUDA here, so that the decisions are tested where there is no GPU.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cross_attention.h"

namespace g4v::kernels::cuda {

enum class Kernel : int32_t {
  kPlain = 0,       // plain.cuh
  kTensorCore = 1,  // tensor_core.cuh
  kWarpgroup = 2,   // warpgroup.cuh
};
int ThreadsOf(Kernel kernel);  // of a block

// What a caller may ask for: kChosen, or a Kernel by its number.
constexpr int32_t kChosen = -1;  // G4V_CUDA_KERNEL_CHOSEN

struct Gpu {
  int32_t architecture = 0;  // compute capability 9.0 is 90
  int32_t multiprocessors = 0;
  int32_t shared_bytes_per_block = 0;  // the most that a kernel may ask for
  bool has_warpgroup_kernels = false;  // it is a 9.0, and the library was built for 9.0a too
};

struct Plan {
  Kernel kernel = Kernel::kPlain;
  int32_t query_tiles = 0;
  int32_t splits = 1;           // of the key list; above 1 a merge follows
  int64_t blocks = 0;           // of the attention kernel; 0: nothing to do
  int64_t merge_blocks = 0;     // 0: no merge
  int32_t shared_bytes = 0;     // of a block
  int64_t stats_offset = 0;     // in the workspace, bytes
  int64_t workspace_bytes = 0;  // 0 where splits is 1
  const char* error = nullptr;  // one sentence where the call cannot be run; the rest is unset then
};

// The workspace must start at a multiple of this many bytes.
constexpr int64_t kWorkspaceAlignment = 16;
constexpr int32_t kMaxSplits = 64;

// True where every row that the kernels touch starts at a multiple of 16 bytes.
bool RowsAreAligned(const CrossAttentionParams& params);

// `params` has passed CheckCrossAttention. The plan, and so the bits of the result, depend on the
// sizes, the alignment, the architecture and the number of multiprocessors, on nothing else:
// mem_len is not looked at.
//
// `wanted` is kChosen or a Kernel; one that cannot serve the call is refused. kChosen never gives
// kWarpgroup: that kernel has not been run on a GPU yet. benchmarks/gpu.sh checks and measures it
// beside kTensorCore. Where its figures ("kernel 2" in the JSON's attention rows) are the better
// ones, let Choose in plan.cc return kWarpgroup wherever WarpgroupRefusal finds nothing, and delete
// this paragraph and the first of warpgroup.cuh.
Plan MakePlan(const CrossAttentionParams& params, const Gpu& gpu, int32_t wanted = kChosen);

}  // namespace g4v::kernels::cuda
