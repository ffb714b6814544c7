/* libg4v_cuda: the CUDA kernels of g4v behind C functions.

   The library is loaded where a GPU is (kernels/cuda_library.h) and carries the CUDA runtime
   inside, so that a program without it needs nothing of CUDA. Streams are cudaStream_t (CUstream)
   as void*, null is the default stream; tensors are device pointers.

   Every function may be called from any thread. Those that return int32_t return 0 or one of the
   codes below; g4v_cuda_error_text then has one sentence. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/cross_attention.h"

/* Grows with every change of a structure or a function here. A loader refuses any other number. */
#define G4V_CUDA_ABI_VERSION 2

#if defined(__GNUC__)
#pragma GCC visibility push(default) /* everything else in the library is hidden */
#endif

extern "C" {

enum {
  G4V_CUDA_OK = 0,
  G4V_CUDA_INVALID_ARGUMENT = 1,
  G4V_CUDA_NO_DRIVER = 2,
  G4V_CUDA_DRIVER_TOO_OLD = 3,
  G4V_CUDA_NO_DEVICE = 4,
  G4V_CUDA_GPU_TOO_OLD = 5, /* or newer than what the library was compiled for */
  G4V_CUDA_WORKSPACE = 6,   /* null, too small, or misaligned */
  G4V_CUDA_FAILED = 7       /* a CUDA call failed; the text has its name and CUDA's words */
};

typedef struct G4vCudaDevice {
  char name[256];
  int32_t architecture; /* compute capability 9.0 is 90 */
  int32_t compiled_for; /* the architecture whose kernels run there, at most the above */
  int32_t multiprocessors;
  int32_t shared_bytes_per_block; /* the most that a kernel may ask for */
} G4vCudaDevice;

/* In place of a kernel's number: the library chooses. */
#define G4V_CUDA_KERNEL_CHOSEN (-1)

/* What a call will do. */
typedef struct G4vCudaPlan {
  int32_t kernel; /* 0: without tensor cores, 1: tensor cores, 2: wgmma (kernels/cuda/plan.h) */
  int32_t splits; /* blocks that share a query's keys; above 1 a second kernel merges */
  int64_t blocks; /* of the attention kernel */
  int64_t workspace_bytes;
} G4vCudaPlan;

int32_t g4v_cuda_abi_version(void);
/* As CMake was told, for example "80-real 90". */
const char* g4v_cuda_architectures(void);
/* 13000 is CUDA 13.0; the driver's is 0 where there is no driver. */
int32_t g4v_cuda_runtime_version(void);
int32_t g4v_cuda_driver_version(void);

/* How many GPUs this process sees. Fails with the reason where there is none. */
int32_t g4v_cuda_device_count(int32_t* count);
/* Fails with G4V_CUDA_GPU_TOO_OLD where the library holds no kernels for this GPU; `out` is filled
   in even so. */
int32_t g4v_cuda_describe_device(int32_t device, G4vCudaDevice* out);

/* The workspace that g4v_cuda_cross_attention will need for the same sizes, strides and device.
   Also loads the kernel on that device, which allocates: the first call must not be made while a
   stream of the device is being captured. */
int32_t g4v_cuda_cross_attention_plan(const g4v::kernels::CrossAttentionParams* params,
                                      int32_t device, G4vCudaPlan* plan);

/* Starts the attention on `stream` of `device` and returns; nothing is allocated, nothing is waited
   for, and the call may be captured in a CUDA graph once its plan has been asked for. `workspace`
   is device memory, a multiple of 16 bytes, at least plan.workspace_bytes large (null where that is
   0) and not used by anything else until the kernels have run. What it holds does not matter. The
   same inputs give the same bits. */
int32_t g4v_cuda_cross_attention(const g4v::kernels::CrossAttentionParams* params, int32_t device,
                                 void* workspace, size_t workspace_bytes, void* stream);

/* The same two by a kernel of the caller's choice, for tests and measurements: -1, 0, 1 or 2 as in
   G4vCudaPlan, the same number in both. Kernel 2 has not been measured yet and is never chosen by
   the library; where the GPU is no 9.0 or the build has no code for 9.0a, it is refused with
   G4V_CUDA_GPU_TOO_OLD. A kernel that cannot serve the sizes, the type or the strides is refused
   with G4V_CUDA_INVALID_ARGUMENT. */
int32_t g4v_cuda_cross_attention_plan_with(const g4v::kernels::CrossAttentionParams* params,
                                           int32_t device, int32_t kernel, G4vCudaPlan* plan);
int32_t g4v_cuda_cross_attention_with(const g4v::kernels::CrossAttentionParams* params,
                                      int32_t device, int32_t kernel, void* workspace,
                                      size_t workspace_bytes, void* stream);

/* One sentence on the last failure of this thread if it had this code, or on the code in general.
   Valid until the thread's next failing call. */
const char* g4v_cuda_error_text(int32_t code);

} /* extern "C" */

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
