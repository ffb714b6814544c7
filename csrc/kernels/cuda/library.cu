#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <type_traits>

#include "kernels/cuda/addresses.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/library.h"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/split.h"

namespace g4v::kernels::cuda {
namespace {

static_assert(std::is_standard_layout<CrossAttentionParams>::value,
              "the parameters cross a C boundary");

struct Failure {
  int32_t code = 0;
  char text[512] = "";
};
thread_local Failure last_failure;

int32_t Fail(int32_t code, const char* text) {
  last_failure.code = code;
  std::snprintf(last_failure.text, sizeof last_failure.text, "%s", text);
  return code;
}

int32_t FailNoDriver() {
  return Fail(G4V_CUDA_NO_DRIVER, "no NVIDIA driver is installed (libcuda.so.1 was not found)");
}

// The reason that CUDA gives, as a code of ours.
int32_t FailCuda(cudaError_t error, const char* doing) {
  cudaGetLastError();  // a failure that is not sticky must not show up in somebody else's next call
  char text[512];
  switch (error) {
    case cudaErrorInsufficientDriver: {
      const int32_t driver = g4v_cuda_driver_version();
      if (driver == 0) return FailNoDriver();
      std::snprintf(
          text, sizeof text,
          "the NVIDIA driver is too old: it serves CUDA %d.%d, and this build of g4v needs "
          "CUDA %d.%d; update the driver",
          driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
      return Fail(G4V_CUDA_DRIVER_TOO_OLD, text);
    }
    case cudaErrorNoDevice:
      return Fail(G4V_CUDA_NO_DEVICE, "no NVIDIA GPU is visible to this process");
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorUnsupportedPtxVersion:
      std::snprintf(
          text, sizeof text,
          "this build of g4v has CUDA kernels for %s, and none that run on this GPU; build "
          "it with -DG4V_CUDA_ARCHITECTURES=native",
          G4V_CUDA_ARCHITECTURES);
      return Fail(G4V_CUDA_GPU_TOO_OLD, text);
    default:
      std::snprintf(text, sizeof text, "%s failed: %s (%s)", doing, cudaGetErrorString(error),
                    cudaGetErrorName(error));
      return Fail(G4V_CUDA_FAILED, text);
  }
}

#define G4V_RETURN_IF_CUDA_FAILS(call)                                       \
  do {                                                                       \
    const cudaError_t error_of_call = (call);                                \
    if (error_of_call != cudaSuccess) return FailCuda(error_of_call, #call); \
  } while (false)

// Makes `device` current for a call; puts back what was.
class UseDevice {
 public:
  explicit UseDevice(int32_t device) : device_(device) {
    error_ = cudaGetDevice(&before_);
    if (error_ == cudaSuccess && before_ != device_) error_ = cudaSetDevice(device_);
  }
  ~UseDevice() {
    if (error_ == cudaSuccess && before_ != device_) cudaSetDevice(before_);
  }
  UseDevice(const UseDevice&) = delete;
  UseDevice& operator=(const UseDevice&) = delete;
  cudaError_t error() const { return error_; }

 private:
  int device_ = 0;
  int before_ = 0;
  cudaError_t error_ = cudaSuccess;
};

// Of the current device. `compiled_for` is the architecture that the loaded kernels were written
// for, which may be older than the GPU: kernels for 7.5 have no tensor-core part wherever they run.
int32_t DescribeGpu(int32_t device, Gpu* gpu, int32_t* compiled_for) {
  int major = 0;
  int minor = 0;
  int multiprocessors = 0;
  int shared_bytes = 0;
  G4V_RETURN_IF_CUDA_FAILS(
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  G4V_RETURN_IF_CUDA_FAILS(
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  G4V_RETURN_IF_CUDA_FAILS(
      cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  G4V_RETURN_IF_CUDA_FAILS(
      cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  gpu->architecture = major * 10 + minor;
  gpu->multiprocessors = multiprocessors;
  gpu->shared_bytes_per_block = shared_bytes;
  *compiled_for = 0;
  cudaFuncAttributes attributes;
  G4V_RETURN_IF_CUDA_FAILS(cudaFuncGetAttributes(&attributes, MergeKernelAddress<float>()));
  *compiled_for = attributes.ptxVersion;
#if G4V_CUDA_WARPGROUP
  // Code for 9.0a runs on 9.0 and nowhere else; whether there is any, the runtime knows.
  if (gpu->architecture == 90) {
    gpu->has_warpgroup_kernels =
        cudaFuncGetAttributes(&attributes, WarpgroupKernelAddress<BFloat16, 64>()) == cudaSuccess;
    cudaGetLastError();
  }
#endif
  return G4V_CUDA_OK;
}

// The planning side of DescribeGpu, kept: it is asked for on every call.
int32_t GpuForPlan(int32_t device, Gpu* gpu) {
  constexpr int32_t kKept = 64;
  static std::atomic<bool> known[kKept];
  static Gpu kept[kKept];
  static std::atomic_flag writing = ATOMIC_FLAG_INIT;
  if (device < kKept && known[device].load(std::memory_order_acquire)) {
    *gpu = kept[device];
    return G4V_CUDA_OK;
  }
  int32_t compiled_for = 0;
  if (const int32_t code = DescribeGpu(device, gpu, &compiled_for)) return code;
  if (compiled_for < gpu->architecture) gpu->architecture = compiled_for;
  if (device < kKept) {
    while (writing.test_and_set(std::memory_order_acquire)) {
    }
    if (!known[device].load(std::memory_order_relaxed)) {
      kept[device] = *gpu;
      known[device].store(true, std::memory_order_release);
    }
    writing.clear(std::memory_order_release);
  }
  return G4V_CUDA_OK;
}

// Loads the kernels and lets the attention have its shared memory, once per kernel and device.
int32_t Prepare(const CrossAttentionParams& p, const Plan& plan, const Addresses& addresses,
                int32_t device) {
  static std::atomic<uint64_t> prepared[3][3][std::size(kHeadSizes)];  // a bit for each device
  size_t head_index = 0;
  while (kHeadSizes[head_index] != p.head_size) ++head_index;
  std::atomic<uint64_t>& bits =
      prepared[static_cast<int>(plan.kernel)][static_cast<int>(p.dtype)][head_index];
  const uint64_t bit = device < 64 ? uint64_t{1} << device : 0;
  if (bits.load(std::memory_order_acquire) & bit) return G4V_CUDA_OK;
  // Two threads that come here at once both set the same attribute to the same value.
  G4V_RETURN_IF_CUDA_FAILS(cudaFuncSetAttribute(
      addresses.attention, cudaFuncAttributeMaxDynamicSharedMemorySize, plan.shared_bytes));
  cudaFuncAttributes attributes;
  G4V_RETURN_IF_CUDA_FAILS(cudaFuncGetAttributes(&attributes, addresses.merge));
  bits.fetch_or(bit, std::memory_order_release);
  return G4V_CUDA_OK;
}

// Checks, plans and prepares; the device is current.
int32_t PlanCall(const CrossAttentionParams* params, int32_t device, int32_t kernel, Plan* plan,
                 Addresses* addresses) {
  if (const char* problem = CheckCrossAttention(*params)) {
    return Fail(G4V_CUDA_INVALID_ARGUMENT, problem);
  }
  const auto dtype = static_cast<int32_t>(params->dtype);
  if (dtype < 0 || dtype > 2) return Fail(G4V_CUDA_INVALID_ARGUMENT, "dtype must be 0, 1 or 2");
  Gpu gpu;
  if (const int32_t code = GpuForPlan(device, &gpu)) return code;
  *plan = MakePlan(*params, gpu, kernel);
  if (plan->error) {
    const bool too_old =
        kernel == static_cast<int32_t>(Kernel::kWarpgroup) && !gpu.has_warpgroup_kernels;
    return Fail(too_old ? G4V_CUDA_GPU_TOO_OLD : G4V_CUDA_INVALID_ARGUMENT, plan->error);
  }
  *addresses = AddressesOf(*params, *plan);
  return Prepare(*params, *plan, *addresses, device);
}

int32_t LaunchKernel(const void* kernel, int64_t blocks, int threads, int32_t shared_bytes,
                     Launch* launch, void* stream) {
  void* arguments[] = {launch};
  G4V_RETURN_IF_CUDA_FAILS(cudaLaunchKernel(
      kernel, dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), arguments,
      static_cast<size_t>(shared_bytes), static_cast<cudaStream_t>(stream)));
  return G4V_CUDA_OK;
}

int32_t CheckDevice(int32_t device) {
  int32_t count = 0;
  if (const int32_t code = g4v_cuda_device_count(&count)) return code;
  if (device >= 0 && device < count) return G4V_CUDA_OK;
  char text[128];
  std::snprintf(text, sizeof text, "there is no CUDA device %d; the devices are 0 to %d", device,
                count - 1);
  return Fail(G4V_CUDA_INVALID_ARGUMENT, text);
}

}  // namespace
}  // namespace g4v::kernels::cuda

using namespace g4v::kernels;
using namespace g4v::kernels::cuda;

int32_t g4v_cuda_abi_version(void) { return G4V_CUDA_ABI_VERSION; }
const char* g4v_cuda_architectures(void) { return G4V_CUDA_ARCHITECTURES; }

int32_t g4v_cuda_runtime_version(void) { return CUDART_VERSION; }

int32_t g4v_cuda_driver_version(void) {
  int version = 0;
  if (cudaDriverGetVersion(&version) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return version;
}

int32_t g4v_cuda_device_count(int32_t* count) {
  if (!count) return Fail(G4V_CUDA_INVALID_ARGUMENT, "count must not be null");
  *count = 0;
  int found = 0;
  G4V_RETURN_IF_CUDA_FAILS(cudaGetDeviceCount(&found));
  if (found == 0) return FailCuda(cudaErrorNoDevice, "cudaGetDeviceCount");
  *count = found;
  return G4V_CUDA_OK;
}

int32_t g4v_cuda_describe_device(int32_t device, G4vCudaDevice* out) {
  if (!out) return Fail(G4V_CUDA_INVALID_ARGUMENT, "out must not be null");
  std::memset(out, 0, sizeof *out);
  if (const int32_t code = CheckDevice(device)) return code;
  const UseDevice use(device);
  G4V_RETURN_IF_CUDA_FAILS(use.error());
  cudaDeviceProp properties;
  G4V_RETURN_IF_CUDA_FAILS(cudaGetDeviceProperties(&properties, device));
  std::snprintf(out->name, sizeof out->name, "%s", properties.name);
  Gpu gpu;
  const int32_t code = DescribeGpu(device, &gpu, &out->compiled_for);
  out->architecture = gpu.architecture;
  out->multiprocessors = gpu.multiprocessors;
  out->shared_bytes_per_block = gpu.shared_bytes_per_block;
  return code;
}

int32_t g4v_cuda_cross_attention_plan(const CrossAttentionParams* params, int32_t device,
                                      G4vCudaPlan* plan) {
  return g4v_cuda_cross_attention_plan_with(params, device, G4V_CUDA_KERNEL_CHOSEN, plan);
}

int32_t g4v_cuda_cross_attention_plan_with(const CrossAttentionParams* params, int32_t device,
                                           int32_t kernel, G4vCudaPlan* plan) {
  if (!params || !plan) {
    return Fail(G4V_CUDA_INVALID_ARGUMENT, "params and plan must not be null");
  }
  *plan = G4vCudaPlan();
  if (const int32_t code = CheckDevice(device)) return code;
  const UseDevice use(device);
  G4V_RETURN_IF_CUDA_FAILS(use.error());
  Plan made;
  Addresses addresses;
  if (const int32_t code = PlanCall(params, device, kernel, &made, &addresses)) return code;
  plan->kernel = static_cast<int32_t>(made.kernel);
  plan->splits = made.splits;
  plan->blocks = made.blocks;
  plan->workspace_bytes = made.workspace_bytes;
  return G4V_CUDA_OK;
}

int32_t g4v_cuda_cross_attention(const CrossAttentionParams* params, int32_t device,
                                 void* workspace, size_t workspace_bytes, void* stream) {
  return g4v_cuda_cross_attention_with(params, device, G4V_CUDA_KERNEL_CHOSEN, workspace,
                                       workspace_bytes, stream);
}

int32_t g4v_cuda_cross_attention_with(const CrossAttentionParams* params, int32_t device,
                                      int32_t kernel, void* workspace, size_t workspace_bytes,
                                      void* stream) {
  if (!params) return Fail(G4V_CUDA_INVALID_ARGUMENT, "params must not be null");
  if (device < 0) return Fail(G4V_CUDA_INVALID_ARGUMENT, "device must be at least 0");
  const UseDevice use(device);
  G4V_RETURN_IF_CUDA_FAILS(use.error());
  Plan plan;
  Addresses addresses;
  if (const int32_t code = PlanCall(params, device, kernel, &plan, &addresses)) return code;
  if (plan.blocks == 0) return G4V_CUDA_OK;
  if (plan.workspace_bytes > 0 &&
      (!workspace || static_cast<int64_t>(workspace_bytes) < plan.workspace_bytes ||
       reinterpret_cast<uintptr_t>(workspace) % kWorkspaceAlignment != 0)) {
    char text[160];
    std::snprintf(text, sizeof text,
                  "the workspace must be %lld bytes of device memory at a multiple of %lld",
                  static_cast<long long>(plan.workspace_bytes),
                  static_cast<long long>(kWorkspaceAlignment));
    return Fail(G4V_CUDA_WORKSPACE, text);
  }
  Launch launch;
  launch.p = *params;
  launch.query_tiles = plan.query_tiles;
  launch.splits = plan.splits;
  if (plan.splits > 1) {
    auto* bytes = static_cast<unsigned char*>(workspace);
    launch.partial_out = reinterpret_cast<float*>(bytes);
    launch.partial_stats = reinterpret_cast<float*>(bytes + plan.stats_offset);
  }
  if (const int32_t code = LaunchKernel(addresses.attention, plan.blocks, ThreadsOf(plan.kernel),
                                        plan.shared_bytes, &launch, stream)) {
    return code;
  }
  if (plan.merge_blocks == 0) return G4V_CUDA_OK;
  return LaunchKernel(addresses.merge, plan.merge_blocks, kMergeThreads, 0, &launch, stream);
}

const char* g4v_cuda_error_text(int32_t code) {
  if (code != G4V_CUDA_OK && code == last_failure.code) return last_failure.text;
  switch (code) {
    case G4V_CUDA_OK:
      return "no error";
    case G4V_CUDA_INVALID_ARGUMENT:
      return "an argument does not fit";
    case G4V_CUDA_NO_DRIVER:
      return "no NVIDIA driver is installed";
    case G4V_CUDA_DRIVER_TOO_OLD:
      return "the NVIDIA driver is too old";
    case G4V_CUDA_NO_DEVICE:
      return "no NVIDIA GPU is visible to this process";
    case G4V_CUDA_GPU_TOO_OLD:
      return "the library has no kernels for this GPU";
    case G4V_CUDA_WORKSPACE:
      return "the workspace does not fit";
    case G4V_CUDA_FAILED:
      return "a CUDA call failed";
    default:
      return "unknown code";
  }
}
