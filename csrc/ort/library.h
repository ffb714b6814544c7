// Finds and loads libonnxruntime at run time, so that the core links against nothing and a host may
// bring its own copy.
//
// One process uses one ONNX Runtime: the first successful Environment::Get decides which. The
// library is never unloaded, and the environment lives as long as the process.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ort/abi.h"

namespace g4v::ort {

struct LibraryOptions {
  // File to load. Nothing else is tried when it is given.
  std::string path;
  // Folders that may hold libonnxruntime, such as the `capi` folder of the Python wheel. They are
  // tried after $G4V_ONNXRUNTIME (a file or a folder) and before the system's own library.
  std::vector<std::string> directories;
};

// The oldest ONNX Runtime that is used. 1.20 is the first whose CPU GroupQueryAttention prefills
// onto a non-empty KV cache; those before 1.24.1 open any file that a graph names.
constexpr const char* kMinimumVersion = "1.24.1";

class Environment {
 public:
  // The process-wide environment; loads the library on the first call. Throws Error(Runtime) with
  // what to install where none is found, where it is too old, or where `path` names another file
  // than the one in use.
  static std::shared_ptr<Environment> Get(const LibraryOptions& options = {});

  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  const abi::Api& api() const { return api_; }
  OrtEnv* get() const { return env_; }
  const std::string& version() const { return version_; }  // "1.31.1"
  const std::string& path() const { return path_; }        // the file that was loaded
  // Execution providers compiled into the library, best first ("CUDAExecutionProvider",
  // "CPUExecutionProvider").
  std::vector<std::string> Providers() const;
  bool HasProvider(const std::string& name) const;
  // Throws Error(Runtime) "<doing>: <ONNX Runtime's message on one line>" where `status` is a
  // failure; releases it.
  void Check(OrtStatus* status, const std::string& doing) const;
  // The same of work on the CPU, which throws std::bad_alloc where memory is what was missing.
  void CheckOnCpu(OrtStatus* status, const std::string& doing) const;

 private:
  Environment(void* handle, std::string path);

  abi::Api api_;
  OrtEnv* env_ = nullptr;
  std::string version_;
  std::string path_;
};

// Loads the CUDA and cuDNN libraries of the nvidia-* wheels, so that the CUDA provider finds them:
// every folder in `roots` (site-packages folders) is searched for nvidia/*/lib. Returns one line
// for each library that is nowhere: its name and the loader's message. Libraries that the system
// already provides are left alone.
std::vector<std::string> PreloadCudaLibraries(const std::vector<std::string>& roots);

// The same for TensorRT 10's libraries, which are in one of the folders or in the system's.
std::vector<std::string> PreloadTensorRtLibraries(const std::vector<std::string>& folders);

}  // namespace g4v::ort
