// Loads libg4v_cuda, the CUDA kernels, where it is and can be used. The core is built without CUDA
// and links against nothing of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cuda/library.h"

namespace g4v::kernels {

enum class CudaStatus {
  kReady = 0,
  kNotBuilt,      // there is no libg4v_cuda beside this library
  kDoesNotLoad,   // there is one, and the loader refuses it or it is of another version of g4v
  kNoDriver,      // no NVIDIA driver
  kDriverTooOld,  // older than the CUDA runtime inside the library
  kNoDevice,      // no GPU, or none visible
  kGpuTooOld,     // no GPU that the library has kernels for
  kFailed,        // a CUDA call failed
};

// The functions of kernels/cuda/library.h.
struct CudaKernels {
  std::string path;           // of the library
  std::string architectures;  // that it was compiled for: "80-real 90"
  int32_t driver_version = 0;
  int32_t runtime_version = 0;
  std::vector<G4vCudaDevice>
      devices;  // by device number; compiled_for is 0 where it cannot be used

  decltype(&g4v_cuda_cross_attention_plan) cross_attention_plan = nullptr;
  decltype(&g4v_cuda_cross_attention) cross_attention = nullptr;
  decltype(&g4v_cuda_error_text) error_text = nullptr;
};

// The kernels, or null with one sentence in `why` and its kind in `status` (both optional). Asked
// once per process: the library is searched for beside the file that this function is in, and is
// never unloaded. Any thread may call it; it does not throw.
const CudaKernels* LoadCudaKernels(std::string* why = nullptr, CudaStatus* status = nullptr);

// As LoadCudaKernels from a given file, without remembering the outcome. The caller owns the
// result. `kernels` is filled in as far as the search got.
CudaStatus LoadCudaKernelsFrom(const std::string& path, CudaKernels* kernels, std::string* why);

}  // namespace g4v::kernels
