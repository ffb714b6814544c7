#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <span>

#include "ort/library.h"

namespace g4v::ort {
namespace {

namespace fs = std::filesystem;

// What the CUDA provider links against, each after what it needs itself.
constexpr const char* kNeeded[] = {"libcudart", "libnvrtc",  "libnvJitLink", "libcublasLt",
                                   "libcublas", "libcurand", "libcufft",     "libcudnn"};
// And what the TensorRT provider links against.
constexpr const char* kTensorRt[] = {"libnvinfer", "libnvinfer_plugin", "libnvonnxparser"};

// nvidia/cudnn/lib, nvidia/cu13/lib, ... below each root.
std::vector<fs::path> LibraryFolders(const std::vector<std::string>& roots) {
  std::vector<fs::path> folders;
  std::error_code error;
  for (const std::string& root : roots) {
    for (const auto& entry : fs::directory_iterator(fs::path(root) / "nvidia", error)) {
      const fs::path folder = entry.path() / "lib";
      if (fs::is_directory(folder, error)) folders.push_back(folder);
    }
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

// The newest file `name`.so* in the folders, empty where there is none.
std::string FindCudaLibrary(const std::vector<fs::path>& folders, const std::string& name) {
  std::string newest;
  std::error_code error;
  for (const fs::path& folder : folders) {
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      const std::string file = entry.path().filename().string();
      if (file.starts_with(name + ".so")) newest = std::max(newest, entry.path().string());
    }
  }
  return newest;
}

std::vector<std::string> Preload(const std::vector<fs::path>& folders,
                                 std::span<const char* const> names, const char* suffix) {
  std::vector<std::string> missing;
  for (const std::string name : names) {
    const std::string file = FindCudaLibrary(folders, name);
    // Without a wheel the system's own copy may serve: the loader's word on the plain name decides.
    const std::string& target = file.empty() ? name + suffix : file;
    if (!dlopen(target.c_str(), RTLD_NOW | RTLD_GLOBAL)) {
      const char* message = dlerror();
      missing.push_back(name + ": " + (message ? message : "cannot be loaded"));
    }
  }
  return missing;
}

}  // namespace

std::vector<std::string> PreloadCudaLibraries(const std::vector<std::string>& roots) {
  return Preload(LibraryFolders(roots), kNeeded, ".so");
}

std::vector<std::string> PreloadTensorRtLibraries(const std::vector<std::string>& folders) {
  return Preload({folders.begin(), folders.end()}, kTensorRt, ".so.10");
}

}  // namespace g4v::ort
