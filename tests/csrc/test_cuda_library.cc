// Every way in which the CUDA kernels can be unusable has its status and its sentence. The real
// library is tried as well where it was built; on a machine without a GPU it must say so.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "check.h"
#include "kernels/cuda_library.h"

namespace {

using g4v::kernels::CudaKernels;
using g4v::kernels::CudaStatus;
using g4v::kernels::LoadCudaKernels;
using g4v::kernels::LoadCudaKernelsFrom;

bool Contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

CudaStatus Fake(int abi, int devices, int count_code, int old, CudaKernels* kernels,
                std::string* why) {
  setenv("FAKE_CUDA_ABI", std::to_string(abi).c_str(), 1);
  setenv("FAKE_CUDA_DEVICES", std::to_string(devices).c_str(), 1);
  setenv("FAKE_CUDA_COUNT_CODE", std::to_string(count_code).c_str(), 1);
  setenv("FAKE_CUDA_OLD", std::to_string(old).c_str(), 1);
  *kernels = CudaKernels();
  why->clear();
  return LoadCudaKernelsFrom(G4V_FAKE_CUDA, kernels, why);
}

void TestFailures() {
  CudaKernels kernels;
  std::string why;
  CHECK(LoadCudaKernelsFrom("/nowhere/libg4v_cuda.so", &kernels, &why) == CudaStatus::kNotBuilt);
  CHECK(Contains(why, "no CUDA kernels") && Contains(why, "/nowhere/libg4v_cuda.so"));

  const auto text = std::filesystem::temp_directory_path() / "g4v_not_a_library.so";
  std::ofstream(text) << "not a library";
  CHECK(LoadCudaKernelsFrom(text.string(), &kernels, &why) == CudaStatus::kDoesNotLoad);
  CHECK(Contains(why, "does not load"));
  std::filesystem::remove(text);

  CHECK(LoadCudaKernelsFrom(G4V_FAKE_ONNXRUNTIME, &kernels, &why) == CudaStatus::kDoesNotLoad);
  CHECK(Contains(why, "is not a library of g4v's CUDA kernels"));
  CHECK(Fake(99, 1, 0, 0, &kernels, &why) == CudaStatus::kDoesNotLoad);
  CHECK(Contains(why, "interface version 99") && Contains(why, "different builds"));

  const int abi = G4V_CUDA_ABI_VERSION;
  CHECK(Fake(abi, 0, G4V_CUDA_NO_DRIVER, 0, &kernels, &why) == CudaStatus::kNoDriver);
  CHECK(why == "some reason");
  CHECK(Fake(abi, 0, G4V_CUDA_DRIVER_TOO_OLD, 0, &kernels, &why) == CudaStatus::kDriverTooOld);
  CHECK(Fake(abi, 0, G4V_CUDA_NO_DEVICE, 0, &kernels, &why) == CudaStatus::kNoDevice);
  CHECK(Fake(abi, 0, G4V_CUDA_FAILED, 0, &kernels, &why) == CudaStatus::kFailed);
  CHECK(Fake(abi, 2, 0, 2, &kernels, &why) == CudaStatus::kGpuTooOld);
  CHECK(why == "Fake GPU: too old" && kernels.devices.size() == 2);
}

void TestReady() {
  CudaKernels kernels;
  std::string why;
  CHECK(Fake(G4V_CUDA_ABI_VERSION, 2, 0, 1, &kernels, &why) == CudaStatus::kReady);
  CHECK(why.empty() && kernels.devices.size() == 2);
  CHECK(kernels.devices[0].compiled_for == 0 && kernels.devices[1].compiled_for == 90);
  CHECK(kernels.runtime_version == 13000 && kernels.driver_version == 13010);
  CHECK(kernels.architectures == "80-real 90" && kernels.path == G4V_FAKE_CUDA);
  CHECK(kernels.cross_attention && kernels.cross_attention_plan);
}

// Beside this program there is none unless the build made one there: either is consistent.
void TestOwn() {
  std::string why;
  CudaStatus status = CudaStatus::kFailed;
  const CudaKernels* kernels = LoadCudaKernels(&why, &status);
  CHECK((kernels != nullptr) == (status == CudaStatus::kReady));
  CHECK((kernels == nullptr) == !why.empty());
  CHECK(LoadCudaKernels() == kernels);
}

}  // namespace

int main() {
  TestFailures();
  TestReady();
  TestOwn();
  return g4v::test::Finish();
}
