// Loads libg4v_cuda, the library of the CUDA kernels, at run time: the core is built without CUDA
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
  // By device number; compiled_for is 0 where a device cannot be used.
  std::vector<G4vCudaDevice> devices;

  decltype(&g4v_cuda_cross_attention_plan) cross_attention_plan = nullptr;
  decltype(&g4v_cuda_cross_attention) cross_attention = nullptr;
  decltype(&g4v_cuda_error_text) error_text = nullptr;
};

// Returns the kernels, or null with the reason in `why` (one sentence) and in `status`; both may be
// null. The library is looked for once per process, beside the file that contains this function,
// and is never unloaded. Any thread may call this; it does not throw.
const CudaKernels* LoadCudaKernels(std::string* why = nullptr, CudaStatus* status = nullptr);

// Loads the kernels from a given file, anew in each call. The caller owns the result. Where it
// fails, `kernels` has what was found before.
CudaStatus LoadCudaKernelsFrom(const std::string& path, CudaKernels* kernels, std::string* why);

}  // namespace g4v::kernels
