#include "kernels/cuda_library.h"

#include <dlfcn.h>

#include <filesystem>
#include <system_error>

namespace g4v::kernels {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLibraryName = "libg4v_cuda.so";

// Where libg4v_cuda is installed: the folder of the shared library (or program) with this code.
fs::path OwnFolder() {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&LoadCudaKernels), &info) == 0 || !info.dli_fname) {
    return {};
  }
  std::error_code error;
  const fs::path file = fs::canonical(info.dli_fname, error);
  return error ? fs::path(info.dli_fname).parent_path() : file.parent_path();
}

// One symbol of the library, or a false return.
template <class Function>
bool Find(void* handle, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(handle, name));
  return *function != nullptr;
}

CudaStatus StatusOf(int32_t code) {
  switch (code) {
    case G4V_CUDA_OK:
      return CudaStatus::kReady;
    case G4V_CUDA_NO_DRIVER:
      return CudaStatus::kNoDriver;
    case G4V_CUDA_DRIVER_TOO_OLD:
      return CudaStatus::kDriverTooOld;
    case G4V_CUDA_NO_DEVICE:
      return CudaStatus::kNoDevice;
    case G4V_CUDA_GPU_TOO_OLD:
      return CudaStatus::kGpuTooOld;
    default:
      return CudaStatus::kFailed;
  }
}

// One device that works is enough; otherwise the first device's reason stands for all.
CudaStatus DescribeDevices(decltype(&g4v_cuda_describe_device) describe, int32_t count,
                           CudaKernels* kernels, std::string* why) {
  CudaStatus first = CudaStatus::kReady;
  bool any = false;
  for (int32_t device = 0; device < count; ++device) {
    G4vCudaDevice description;
    const int32_t code = describe(device, &description);
    kernels->devices.push_back(description);
    any = any || code == G4V_CUDA_OK;
    if (code != G4V_CUDA_OK && first == CudaStatus::kReady) {
      first = StatusOf(code);
      *why = std::string(description.name) + ": " + kernels->error_text(code);
    }
  }
  if (any) why->clear();
  return any ? CudaStatus::kReady : first;
}

}  // namespace

CudaStatus LoadCudaKernelsFrom(const std::string& path, CudaKernels* kernels, std::string* why) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    *why = "this build of g4v has no CUDA kernels (" + path +
           " does not exist); build it where nvcc is on the PATH";
    return CudaStatus::kNotBuilt;
  }
  // Never closed: the CUDA runtime inside it keeps its state until the process ends.
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char* message = dlerror();
    *why = path + " does not load: " + (message ? message : "unknown loader error");
    return CudaStatus::kDoesNotLoad;
  }
  kernels->path = path;
  decltype(&g4v_cuda_abi_version) abi_version = nullptr;
  if (!Find(handle, "g4v_cuda_abi_version", &abi_version)) {
    *why = path + " is not a library of g4v's CUDA kernels";
    return CudaStatus::kDoesNotLoad;
  }
  if (abi_version() != G4V_CUDA_ABI_VERSION) {
    *why = path + " has interface version " + std::to_string(abi_version()) +
           ", and this g4v needs " + std::to_string(G4V_CUDA_ABI_VERSION) +
           ": they come from different builds";
    return CudaStatus::kDoesNotLoad;
  }
  decltype(&g4v_cuda_architectures) architectures = nullptr;
  decltype(&g4v_cuda_runtime_version) runtime_version = nullptr;
  decltype(&g4v_cuda_driver_version) driver_version = nullptr;
  decltype(&g4v_cuda_device_count) device_count = nullptr;
  decltype(&g4v_cuda_describe_device) describe = nullptr;
  if (!Find(handle, "g4v_cuda_architectures", &architectures) ||
      !Find(handle, "g4v_cuda_runtime_version", &runtime_version) ||
      !Find(handle, "g4v_cuda_driver_version", &driver_version) ||
      !Find(handle, "g4v_cuda_device_count", &device_count) ||
      !Find(handle, "g4v_cuda_describe_device", &describe) ||
      !Find(handle, "g4v_cuda_cross_attention_plan", &kernels->cross_attention_plan) ||
      !Find(handle, "g4v_cuda_cross_attention", &kernels->cross_attention) ||
      !Find(handle, "g4v_cuda_error_text", &kernels->error_text)) {
    *why = path + " lacks functions of its interface version";
    return CudaStatus::kDoesNotLoad;
  }
  kernels->architectures = architectures();
  kernels->runtime_version = runtime_version();
  kernels->driver_version = driver_version();
  int32_t count = 0;
  if (const int32_t code = device_count(&count)) {
    *why = kernels->error_text(code);
    return StatusOf(code);
  }
  return DescribeDevices(describe, count, kernels, why);
}

const CudaKernels* LoadCudaKernels(std::string* why, CudaStatus* status) {
  struct Outcome {
    CudaKernels kernels;
    std::string why;
    CudaStatus status = CudaStatus::kFailed;
  };
  // Never destroyed: other static objects may still call the kernels at exit.
  static const Outcome* const outcome = [] {
    auto* made = new Outcome;
    try {
      const std::string path = (OwnFolder() / kLibraryName).string();
      made->status = LoadCudaKernelsFrom(path, &made->kernels, &made->why);
    } catch (const std::exception& error) {
      made->why = std::string("the CUDA kernels cannot be looked for: ") + error.what();
    }
    return made;
  }();
  if (why) *why = outcome->why;
  if (status) *status = outcome->status;
  return outcome->status == CudaStatus::kReady ? &outcome->kernels : nullptr;
}

}  // namespace g4v::kernels
