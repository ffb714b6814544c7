#include "ort/rtx_plugin.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "base/error.h"
#include "base/process.h"

namespace g4v::ort {
namespace {

namespace fs = std::filesystem;

constexpr const char* kProvider = "NvTensorRTRTXExecutionProvider";
constexpr const char* kPluginFile = "libonnxruntime_providers_nv_tensorrt_rtx.so";
constexpr const char* kVariable = "G4V_TENSORRT_RTX_PROVIDER";
constexpr const char* kInstall = "`pip install \"g4v[rtx]\"`";
// Of the driver, which no wheel brings.
constexpr const char* kDriver[] = {"libcuda.so.1", "libnvidia-ml.so.1"};
// Beside the plugin, under names that end in their whole version, where no loader looks for them.
constexpr const char* kBeside[] = {"libcudart.so.", "libtensorrt_rtx.so.",
                                   "libtensorrt_onnxparser_rtx.so."};

[[noreturn]] void Refuse(const std::string& reason) {
  throw Error(Code::Runtime, "engines of TensorRT for RTX cannot be used: " + reason);
}

std::string LoaderMessage() {
  const char* message = dlerror();
  return message ? message : "cannot be loaded";
}

fs::path PluginIn(const fs::path& place) {
  std::error_code error;
  if (fs::is_directory(place, error)) return place / kPluginFile;
  return place;
}

fs::path FindPlugin(const std::vector<std::string>& directories) {
  std::error_code error;
  if (const char* named = std::getenv(kVariable); named && *named) {
    const fs::path path = PluginIn(named);
    if (fs::is_regular_file(path, error)) return path;
    Refuse("$" + std::string(kVariable) + " is " + named + ", where there is no " + kPluginFile);
  }
  for (const std::string& directory : directories) {
    const fs::path path = PluginIn(directory);
    if (fs::is_regular_file(path, error)) return path;
  }
  Refuse(std::string("their provider is not installed; ") + kInstall + " brings it");
}

void LoadDriver() {
  for (const char* name : kDriver) {
    if (!dlopen(name, RTLD_NOW | RTLD_GLOBAL)) {
      Refuse("there is no NVIDIA driver (" + LoaderMessage() +
             "); install one for CUDA 13, or use device \"cpu\"");
    }
  }
}

// The plugin names its libraries by their short names: whatever is loaded under one serves it.
void LoadBeside(const fs::path& plugin) {
  std::error_code error;
  for (const std::string prefix : kBeside) {
    fs::path found;
    for (const auto& entry : fs::directory_iterator(plugin.parent_path(), error)) {
      if (entry.path().filename().string().starts_with(prefix)) found = entry.path();
    }
    // Without one beside it the loader may find the system's own.
    if (!found.empty() && !dlopen(found.c_str(), RTLD_NOW | RTLD_GLOBAL)) {
      Refuse(LoaderMessage() + "; reinstall it with " + kInstall);
    }
  }
}

}  // namespace

const RtxPlugin& RtxPlugin::Get(const Environment& environment,
                                const std::vector<std::string>& directories) {
  static std::mutex mutex;
  static bool registered = false;
  const LibraryWork library(LibraryWork::Kind::kMake);
  static auto* const current = new RtxPlugin;  // never destroyed, as the environment
  const std::lock_guard<std::mutex> lock(mutex);
  const abi::Api& api = environment.api();
  if (!registered) {
    const fs::path plugin = FindPlugin(directories);
    LoadDriver();
    LoadBeside(plugin);
    environment.Check(
        api.RegisterExecutionProviderLibrary(environment.get(), kProvider, plugin.c_str()),
        "engines of TensorRT for RTX cannot be used: their provider does not load");
    registered = true;
    const OrtEpDevice* const* devices = nullptr;
    size_t count = 0;
    environment.Check(api.GetEpDevices(environment.get(), &devices, &count),
                      "ONNX Runtime cannot list its devices");
    for (size_t i = 0; i < count; ++i) {
      if (std::string(api.EpDevice_EpName(devices[i])) == kProvider) {
        current->devices_.push_back(devices[i]);
      }
    }
  }
  if (current->devices_.empty()) {
    Refuse(
        "their provider finds no GPU that it can use (compute capability 8.6, 8.9, 12.0 or "
        "later, with a driver for CUDA 13)");
  }
  return *current;
}

const OrtEpDevice* RtxPlugin::Device(int index) const {
  if (index < 0 || static_cast<size_t>(index) >= devices_.size()) {
    throw Error(Code::InvalidArgument, "there is no GPU " + std::to_string(index) + " among the " +
                                           std::to_string(devices_.size()) +
                                           " that TensorRT for RTX can use");
  }
  return devices_[static_cast<size_t>(index)];
}

}  // namespace g4v::ort
