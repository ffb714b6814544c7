// The C functions of libg4v_cuda, from planning to the merge, on a pretended machine.
#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>
#include <vector>

#include "check.h"
#include "cuda_host/attention.h"
#include "cuda_host/fake_runtime.h"
#include "kernels/cuda/library.h"

namespace g4v::cuda_host {
namespace {

using kernels::DType;
using kernels::kHeadSizes;

bool Says(int32_t code, const std::string& part) {
  return std::string(g4v_cuda_error_text(code)).find(part) != std::string::npos;
}

double ErrorOf(const Problem& problem) {
  const auto output = problem.Output();
  const auto reference = problem.Reference();
  double error = 0.0;
  for (size_t i = 0; i < output.size(); ++i) {
    error = std::isnan(output[i]) ? INFINITY : std::max(error, std::fabs(output[i] - reference[i]));
  }
  return error;
}

struct Workspace {
  explicit Workspace(const G4vCudaPlan& plan)
      : bytes(static_cast<size_t>(plan.workspace_bytes), static_cast<unsigned char>(0xff)) {}
  void* data() { return bytes.empty() ? nullptr : bytes.data(); }
  std::vector<unsigned char> bytes;
};

// Every failing machine, before any other call has learned about its GPUs.
void TestMachinesThatFail() {
  Problem problem({DType::kBFloat16, 1, 1, 4, 4, 40, 64}, Values::kNormal, 1);
  G4vCudaPlan plan;
  G4vCudaDevice device;
  int32_t count = -1;
  Machine().driver_version = 0;
  CHECK(g4v_cuda_device_count(&count) == G4V_CUDA_NO_DRIVER && count == 0);
  CHECK(Says(G4V_CUDA_NO_DRIVER, "no NVIDIA driver is installed"));
  CHECK(g4v_cuda_cross_attention_plan(&problem.params, 0, &plan) == G4V_CUDA_NO_DRIVER);
  CHECK(g4v_cuda_cross_attention(&problem.params, 0, nullptr, 0, nullptr) == G4V_CUDA_NO_DRIVER);
  CHECK(g4v_cuda_driver_version() == 0);
  Machine().driver_version = 12040;
  CHECK(g4v_cuda_device_count(&count) == G4V_CUDA_DRIVER_TOO_OLD);
  CHECK(Says(G4V_CUDA_DRIVER_TOO_OLD, "it serves CUDA 12.4") &&
        Says(G4V_CUDA_DRIVER_TOO_OLD, "needs CUDA 13.0"));
  Machine().driver_version = 13010;
  CHECK(g4v_cuda_device_count(&count) == G4V_CUDA_NO_DEVICE);
  CHECK(Says(G4V_CUDA_NO_DEVICE, "no NVIDIA GPU is visible"));
  Machine().gpus = {{70, 0, 80, 98304}};
  CHECK(g4v_cuda_device_count(&count) == 0 && count == 1);
  CHECK(g4v_cuda_describe_device(0, &device) == G4V_CUDA_GPU_TOO_OLD);
  CHECK(device.architecture == 70 && device.compiled_for == 0 &&
        std::string(device.name) == "Fake 0");
  CHECK(Says(G4V_CUDA_GPU_TOO_OLD, "kernels for 80-real 90"));
  CHECK(g4v_cuda_cross_attention_plan(&problem.params, 0, &plan) == G4V_CUDA_GPU_TOO_OLD);
  CHECK(g4v_cuda_cross_attention(&problem.params, 0, nullptr, 0, nullptr) == G4V_CUDA_GPU_TOO_OLD);
}

void TestArguments() {
  Problem problem({DType::kBFloat16, 1, 1, 4, 4, 40, 64}, Values::kNormal, 1);
  auto params = problem.params;
  G4vCudaPlan plan;
  CHECK(g4v_cuda_cross_attention_plan(nullptr, 0, &plan) == G4V_CUDA_INVALID_ARGUMENT);
  CHECK(g4v_cuda_cross_attention(nullptr, 0, nullptr, 0, nullptr) == G4V_CUDA_INVALID_ARGUMENT);
  CHECK(g4v_cuda_device_count(nullptr) == G4V_CUDA_INVALID_ARGUMENT);
  CHECK(g4v_cuda_describe_device(0, nullptr) == G4V_CUDA_INVALID_ARGUMENT);
  for (const int32_t device : {-1, 3}) {
    CHECK(g4v_cuda_cross_attention_plan(&params, device, &plan) == G4V_CUDA_INVALID_ARGUMENT);
    CHECK(Says(G4V_CUDA_INVALID_ARGUMENT, "the devices are 0 to 2"));
  }
  CHECK(g4v_cuda_cross_attention(&params, -1, nullptr, 0, nullptr) == G4V_CUDA_INVALID_ARGUMENT);
  CHECK(g4v_cuda_cross_attention(&params, 7, nullptr, 0, nullptr) == G4V_CUDA_FAILED);
  params.head_size = 65;
  CHECK(g4v_cuda_cross_attention_plan(&params, 0, &plan) == G4V_CUDA_INVALID_ARGUMENT);
  CHECK(Says(G4V_CUDA_INVALID_ARGUMENT, "head_size must be"));
  params = problem.params;
  params.dtype = static_cast<DType>(5);
  CHECK(g4v_cuda_cross_attention_plan(&params, 0, &plan) == G4V_CUDA_INVALID_ARGUMENT);
  params = problem.params;
  params.memory_rows = int64_t{1} << 31;
  CHECK(g4v_cuda_cross_attention_plan(&params, 0, &plan) == G4V_CUDA_INVALID_ARGUMENT);
  CHECK(Says(G4V_CUDA_INVALID_ARGUMENT, "2^30"));
  CHECK(std::string(g4v_cuda_error_text(0)) == "no error");
  CHECK(Says(G4V_CUDA_WORKSPACE, "workspace"));  // of the code, not of the last failure
}

// Every kernel is found by its type and head size, gets its shared memory, and is right.
void TestAllKernels() {
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    for (const int64_t head_size : kHeadSizes) {
      for (const int32_t device : {0, 1}) {  // device 1 has no tensor-core kernels
        Problem problem({dtype, 1, 1, 3, 3, 40, head_size}, Values::kNormal, 5);
        G4vCudaPlan plan;
        CHECK(g4v_cuda_cross_attention_plan(&problem.params, device, &plan) == 0);
        CHECK(plan.kernel == (device == 0 && dtype != DType::kFloat32 ? 1 : 0));
        Workspace workspace(plan);
        problem.ClearOutput();
        CHECK(g4v_cuda_cross_attention(&problem.params, device, workspace.data(),
                                       workspace.bytes.size(), nullptr) == 0);
        CHECK(ErrorOf(problem) < (dtype == DType::kFloat32 ? 1e-5 : 2e-2));
        CHECK(problem.GuardsAreWhole() && Machine().current == 0);
      }
    }
  }
}

// The wgmma kernel runs where it is asked for, on a GPU and of a build that have it, and is never
// chosen; what it cannot do is refused in a line.
void TestKernelOfTheCallersChoice() {
  constexpr int32_t kWarpgroup = 2;
  for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
    for (const int64_t head_size : {64, 128}) {
      Problem problem({dtype, 1, 1, 70, 70, 500, head_size}, Values::kNormal, 5);
      G4vCudaPlan plan;
      CHECK(g4v_cuda_cross_attention_plan(&problem.params, 0, &plan) == 0 && plan.kernel == 1);
      CHECK(g4v_cuda_cross_attention_plan_with(&problem.params, 0, kWarpgroup, &plan) == 0);
      CHECK(plan.kernel == kWarpgroup && plan.splits > 1);
      Workspace workspace(plan);
      problem.ClearOutput();
      CHECK(g4v_cuda_cross_attention_with(&problem.params, 0, kWarpgroup, workspace.data(),
                                          workspace.bytes.size(), nullptr) == 0);
      CHECK(ErrorOf(problem) < 2e-2 && problem.GuardsAreWhole());
    }
  }
  Problem problem({DType::kBFloat16, 1, 1, 3, 3, 40, 64}, Values::kNormal, 5);
  auto params = problem.params;
  G4vCudaPlan plan;
  const auto plan_with = [&](int32_t device, int32_t kernel) {
    return g4v_cuda_cross_attention_plan_with(&params, device, kernel, &plan);
  };
  for (const int32_t device : {1, 2}) {  // an 8.0; a 9.0 with a build that has no code for 9.0a
    CHECK(plan_with(device, kWarpgroup) == G4V_CUDA_GPU_TOO_OLD);
    CHECK(Says(G4V_CUDA_GPU_TOO_OLD, "needs a GPU of compute capability 9.0"));
    CHECK(g4v_cuda_cross_attention_with(&params, device, kWarpgroup, nullptr, 0, nullptr) ==
          G4V_CUDA_GPU_TOO_OLD);
  }
  CHECK(plan_with(2, -1) == 0 && plan.kernel == 1);
  for (const int32_t kernel : {-2, 3}) {
    CHECK(plan_with(0, kernel) == G4V_CUDA_INVALID_ARGUMENT);
    CHECK(Says(G4V_CUDA_INVALID_ARGUMENT, "kernel must be"));
  }
  params.head_size = 32;
  CHECK(plan_with(0, kWarpgroup) == G4V_CUDA_INVALID_ARGUMENT);
  CHECK(Says(G4V_CUDA_INVALID_ARGUMENT, "heads of 64 or 128"));
  params = problem.params;
  params.dtype = DType::kFloat32;
  CHECK(plan_with(0, kWarpgroup) == G4V_CUDA_INVALID_ARGUMENT);
  CHECK(Says(G4V_CUDA_INVALID_ARGUMENT, "float16 and bfloat16"));
  params = problem.params;
  params.k_mem.row += 4;
  CHECK(plan_with(0, kWarpgroup) == G4V_CUDA_INVALID_ARGUMENT);
  CHECK(Says(G4V_CUDA_INVALID_ARGUMENT, "multiples of 16 bytes"));
  CHECK(plan_with(0, 0) == 0 && plan.kernel == 0);
}

// After the plan, a call is two launches on the caller's stream: nothing that a capture forbids.
void TestCallsOfACall() {
  Problem problem({DType::kBFloat16, 1, 1, 8, 8, 1500, 64}, Values::kNormal, 9);
  G4vCudaPlan plan;
  CHECK(g4v_cuda_cross_attention_plan(&problem.params, 0, &plan) == 0);
  CHECK(plan.splits > 1 && plan.workspace_bytes == plan.splits * 8 * (64 + 2) * 4);
  Workspace workspace(plan);
  const auto stream = reinterpret_cast<cudaStream_t>(uintptr_t{0x1234});
  std::vector<double> first;
  for (int repeat = 0; repeat < 2; ++repeat) {
    Machine().calls.clear();
    Machine().streams.clear();
    problem.ClearOutput();
    CHECK(g4v_cuda_cross_attention(&problem.params, 0, workspace.data(), workspace.bytes.size(),
                                   stream) == 0);
    const std::vector<std::string> expected = {"cudaGetDevice", "cudaLaunchKernel",
                                               "cudaLaunchKernel"};
    CHECK(Machine().calls == expected);
    CHECK(Machine().streams == std::vector<cudaStream_t>(2, stream));
    CHECK(ErrorOf(problem) < 2e-2);
    if (repeat == 0) first = problem.Output();
    CHECK(problem.Output() == first);  // whatever the workspace held
  }
  // On another device than the current one, which is current again afterwards.
  Problem other({DType::kFloat32, 1, 1, 2, 0, 20, 32}, Values::kNormal, 9);
  CHECK(g4v_cuda_cross_attention_plan(&other.params, 1, &plan) == 0);
  Machine().calls.clear();
  CHECK(g4v_cuda_cross_attention(&other.params, 1, nullptr, 0, nullptr) == 0);
  const std::vector<std::string> expected = {"cudaGetDevice", "cudaSetDevice", "cudaLaunchKernel",
                                             "cudaSetDevice"};
  CHECK(Machine().calls == expected && Machine().current == 0);
}

void TestWorkspaceAndFailedLaunch() {
  Problem problem({DType::kBFloat16, 1, 1, 8, 8, 1500, 64}, Values::kNormal, 9);
  G4vCudaPlan plan;
  CHECK(g4v_cuda_cross_attention_plan(&problem.params, 0, &plan) == 0);
  std::vector<unsigned char> memory(static_cast<size_t>(plan.workspace_bytes) + 16);
  const auto size = static_cast<size_t>(plan.workspace_bytes);
  const auto call = [&](void* workspace, size_t bytes) {
    return g4v_cuda_cross_attention(&problem.params, 0, workspace, bytes, nullptr);
  };
  Machine().calls.clear();
  CHECK(call(nullptr, size) == G4V_CUDA_WORKSPACE);
  CHECK(Says(G4V_CUDA_WORKSPACE, std::to_string(size) + " bytes"));
  CHECK(call(memory.data(), size - 1) == G4V_CUDA_WORKSPACE);
  CHECK(call(memory.data() + 8, size) == G4V_CUDA_WORKSPACE);
  const auto& calls = Machine().calls;
  CHECK(std::find(calls.begin(), calls.end(), "cudaLaunchKernel") == calls.end());
  Machine().next_launch = cudaErrorLaunchFailure;
  CHECK(call(memory.data(), size) == G4V_CUDA_FAILED);
  CHECK(Says(G4V_CUDA_FAILED, "cudaLaunchKernel") && Says(G4V_CUDA_FAILED, "unspecified launch"));
  CHECK(call(memory.data(), size) == 0);
  problem.params.queries = 0;  // nothing to do is done
  CHECK(call(nullptr, 0) == 0);
}

}  // namespace
}  // namespace g4v::cuda_host

int main() {
  using namespace g4v::cuda_host;
  TestMachinesThatFail();
  // An H200, a GPU whose kernels were compiled for 7.5 although it could do more, and an H200 with
  // a build that left 9.0a out.
  Machine().gpus = {FakeGpu(), {80, 75, 108, 166912}, {90, 90, 132, 232448, false}};
  TestArguments();
  TestAllKernels();
  TestKernelOfTheCallersChoice();
  TestCallsOfACall();
  TestWorkspaceAndFailedLaunch();
  return g4v::test::Finish();
}
