#include "cuda_host/fake_runtime.h"

#include <cstring>

#include "cuda_host/host_kernels.h"

namespace g4v::cuda_host {

FakeMachine& Machine() {
  static FakeMachine machine;
  return machine;
}

}  // namespace g4v::cuda_host

namespace {

using g4v::cuda_host::FakeGpu;
using g4v::cuda_host::HostKernel;
using g4v::cuda_host::Machine;

constexpr int kSharedWithoutAsking = 48 * 1024;

// What every call that needs a GPU starts with.
cudaError_t Begin(const char* name) {
  Machine().calls.push_back(name);
  if (Machine().driver_version < CUDART_VERSION / 1000 * 1000) return cudaErrorInsufficientDriver;
  return Machine().gpus.empty() ? cudaErrorNoDevice : cudaSuccess;
}

const FakeGpu& Current() { return Machine().gpus[static_cast<size_t>(Machine().current)]; }

}  // namespace

cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t) { return "unspecified launch failure"; }
const char* cudaGetErrorName(cudaError_t) { return "cudaErrorLaunchFailure"; }

cudaError_t cudaDriverGetVersion(int* version) {
  *version = Machine().driver_version;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = static_cast<int>(Machine().gpus.size());
  return Begin("cudaGetDeviceCount");
}
cudaError_t cudaGetDevice(int* device) {
  *device = Machine().current;
  return Begin("cudaGetDevice");
}
cudaError_t cudaSetDevice(int device) {
  if (const auto error = Begin("cudaSetDevice")) return error;
  if (device >= static_cast<int>(Machine().gpus.size())) return cudaErrorInvalidDevice;
  Machine().current = device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  std::strcpy(properties->name, device == 0 ? "Fake 0" : "Fake 1");
  return Begin("cudaGetDeviceProperties");
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (const auto error = Begin("cudaDeviceGetAttribute")) return error;
  const FakeGpu& gpu = Machine().gpus[static_cast<size_t>(device)];
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = gpu.multiprocessors;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = gpu.architecture / 10;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = gpu.architecture % 10;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = gpu.shared_bytes;
      break;
  }
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  if (const auto error = Begin("cudaFuncGetAttributes")) return error;
  if (static_cast<const HostKernel*>(kernel)->kind == HostKernel::kWarpgroup) {
    const bool runs = Current().architecture == 90 && Current().built_for_90a;
    return runs ? cudaSuccess : cudaErrorInvalidDeviceFunction;
  }
  attributes->ptxVersion = Current().compiled_for;
  return Current().compiled_for ? cudaSuccess : cudaErrorNoKernelImageForDevice;
}
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  if (const auto error = Begin("cudaFuncSetAttribute")) return error;
  if (value > Current().shared_bytes) return cudaErrorInvalidValue;
  Machine().shared_limit[{kernel, Machine().current}] = value;
  return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void** arguments,
                             size_t shared_bytes, cudaStream_t stream) {
  if (const auto error = Begin("cudaLaunchKernel")) return error;
  auto& limits = Machine().shared_limit;
  const auto limit = limits.find({kernel, Machine().current});
  const int allowed = limit == limits.end() ? kSharedWithoutAsking : limit->second;
  if (static_cast<int>(shared_bytes) > allowed) return cudaErrorInvalidValue;
  if (const auto error = Machine().next_launch) {
    Machine().next_launch = cudaSuccess;
    return error;
  }
  Machine().streams.push_back(stream);
  // The parameters are copied by a launch; the caller's are gone when the kernel runs.
  const auto launch = *static_cast<const g4v::kernels::cuda::Launch*>(arguments[0]);
  g4v::cuda_host::RunBlocks({grid.x, static_cast<int>(block.x), shared_bytes},
                            BodyOf(*static_cast<const HostKernel*>(kernel), launch), 1);
  return cudaSuccess;
}
