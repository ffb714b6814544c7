#include "ort/library.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <new>
#include <string>

#include "base/error.h"
#include "base/process.h"

namespace g4v::ort {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAdvice =
    "install it with `pip install \"onnxruntime>=1.24.1\"`, or set G4V_ONNXRUNTIME to its library "
    "file";

std::string LastLoaderError() {
  const char* message = dlerror();
  return message ? message : "unknown loader error";
}

std::string OneLine(const std::string& text) {
  constexpr size_t kLongest = 600;
  std::string line;
  for (const char c : text) {
    const bool space = c == '\n' || c == '\r' || c == '\t' || c == ' ';
    if (space && (line.empty() || line.back() == ' ')) continue;
    line += space ? ' ' : c;
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  if (line.size() > kLongest) line = line.substr(0, kLongest) + "...";
  return line;
}

// Without what a provider's message has before its reason: a place in the library's source, then
// "[ONNXRuntimeError] : 1 : FAIL : ".
std::string Reason(const std::string& message) {
  const std::string mark = "[ONNXRuntimeError] : ";
  size_t start = message.rfind(mark);
  if (start == std::string::npos) return message;
  start += mark.size();
  for (int i = 0; i < 2; ++i) {
    const size_t end = message.find(" : ", start);
    if (end == std::string::npos) return message;
    start = end + 3;
  }
  return message.substr(start);
}

// libonnxruntime itself, not its providers: libonnxruntime.so, libonnxruntime.so.1.31.1,
// libonnxruntime.1.dylib.
bool IsLibraryName(const std::string& name) {
  return name.starts_with("libonnxruntime.") &&
         (name.find(".so") != std::string::npos || name.find(".dylib") != std::string::npos);
}

std::vector<std::string> LibrariesIn(const fs::path& directory) {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (IsLibraryName(entry.path().filename().string())) found.push_back(entry.path().string());
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

// A file stays itself; a folder stands for the libraries in it.
std::vector<std::string> Expand(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return LibrariesIn(path);
  return {path};
}

struct Opened {
  void* handle = nullptr;
  std::string path;
};

Opened OpenFirst(const std::vector<std::string>& candidates, std::string* failure) {
  for (const std::string& candidate : candidates) {
    if (void* handle = dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL)) return {handle, candidate};
    *failure = LastLoaderError();
  }
  return {};
}

// `source` names the library before any that is installed, so that installing one is no way out.
Opened OpenNamed(const std::string& path, const std::string& source) {
  std::string failure = "no libonnxruntime in that folder";
  const Opened opened = OpenFirst(Expand(path), &failure);
  const bool other = opened.handle && !dlsym(opened.handle, "OrtGetApiBase");
  if (other) failure = "it is not ONNX Runtime (it has no OrtGetApiBase)";
  if (!opened.handle || other) {
    throw Error(Code::Runtime, "ONNX Runtime cannot be loaded from " + source + " " + path + ": " +
                                   OneLine(failure) +
                                   "; give libonnxruntime itself, or nothing to " +
                                   "have the installed one");
  }
  return opened;
}

Opened OpenAny(const LibraryOptions& options) {
  if (!options.path.empty()) return OpenNamed(options.path, "the given path");
  if (const char* variable = std::getenv("G4V_ONNXRUNTIME"); variable && *variable) {
    return OpenNamed(variable, "$G4V_ONNXRUNTIME");
  }
  std::string failure;
  for (const std::string& directory : options.directories) {
    const auto candidates = LibrariesIn(directory);
    if (candidates.empty()) continue;
    const Opened opened = OpenFirst(candidates, &failure);
    if (opened.handle) return opened;
    throw Error(Code::Runtime,
                "ONNX Runtime in " + directory + " does not load: " + OneLine(failure) +
                    "; reinstall it with `pip install --force-reinstall onnxruntime`");
  }
  const Opened opened =
      OpenFirst({"libonnxruntime.so", "libonnxruntime.so.1", "libonnxruntime.dylib"}, &failure);
  if (!opened.handle)
    throw Error(Code::Runtime, std::string("ONNX Runtime was not found; ") + kAdvice);
  return opened;
}

// From 1.29 on ONNX Runtime sends what it does to its makers: a thread, a file in the user's cache and
// the network, from before DisableTelemetryEvents can be called. A host that sets the variable
// itself is obeyed.
void DisableTelemetry() { setenv("ORT_DISABLE_TELEMETRY", "1", 0); }

// The file behind a loaded library, so that a system name ("libonnxruntime.so") is reported as a
// path.
std::string FileOf(const void* symbol, const std::string& fallback) {
  Dl_info info;
  const bool known = dladdr(symbol, &info) != 0 && info.dli_fname;
  const std::string path = known ? info.dli_fname : fallback;
  std::error_code error;
  const fs::path canonical = fs::canonical(path, error);
  return error ? path : canonical.string();
}

// Whether a version "1.24.1" comes before another. What follows the numbers is not looked at.
bool IsOlder(const std::string& version, const std::string& than) {
  const auto numbers = [](const std::string& text) {
    std::array<int, 3> parts{};
    std::sscanf(text.c_str(), "%d.%d.%d", &parts[0], &parts[1], &parts[2]);
    return parts;
  };
  return numbers(version) < numbers(than);
}

}  // namespace

std::shared_ptr<Environment> Environment::Get(const LibraryOptions& options) {
  static std::mutex mutex;
  // Before the lock, so that a forked child finds it open, and what follows made.
  const LibraryWork library(LibraryWork::Kind::kMake);
  // Never destroyed: sessions in other static objects may outlive this one at exit.
  static auto* const current = new std::shared_ptr<Environment>();
  const std::lock_guard<std::mutex> lock(mutex);
  if (!*current) {
    DisableTelemetry();
    const Opened opened = OpenAny(options);
    CloseLibraryWorkAtExit();  // and once more below: static objects of the library are made on the way
    try {
      *current = std::shared_ptr<Environment>(new Environment(opened.handle, opened.path));
      CloseLibraryWorkAtExit();
    } catch (...) {
      dlclose(opened.handle);
      throw;
    }
    return *current;
  }
  if (!options.path.empty()) {
    const auto candidates = Expand(options.path);
    const bool same = std::any_of(candidates.begin(), candidates.end(), [](const auto& candidate) {
      std::error_code error;
      return fs::equivalent(candidate, (*current)->path(), error) && !error;
    });
    if (!same) {
      throw Error(Code::Runtime, "this process already uses ONNX Runtime from " +
                                     (*current)->path() + "; a second library (" + options.path +
                                     ") needs a process of its own");
    }
  }
  return *current;
}

Environment::Environment(void* handle, std::string path) {
  auto* const get_base = reinterpret_cast<abi::GetApiBaseFunction>(dlsym(handle, "OrtGetApiBase"));
  if (!get_base) {
    throw Error(Code::Runtime, path + " is not ONNX Runtime (it has no OrtGetApiBase); " + kAdvice);
  }
  path_ = FileOf(reinterpret_cast<const void*>(get_base), path);
  const abi::ApiBase* base = get_base();
  version_ = base->GetVersionString();
  // GetApi prints to stderr where the version is unknown to it, so the version string is looked at
  // first.
  const void* table = IsOlder(version_, kMinimumVersion) ? nullptr : base->GetApi(abi::kApiVersion);
  if (!table) {
    throw Error(Code::Runtime, "ONNX Runtime " + version_ + " at " + path_ +
                                   " is too old: at least " + kMinimumVersion +
                                   " is needed; `pip install --upgrade onnxruntime` brings it");
  }
  api_ = abi::Api(table);
  // Only fatal messages are logged: every failure reaches the caller as an error, once.
  CheckOnCpu(api_.CreateEnv(abi::kLogFatal, "g4v", &env_), "ONNX Runtime cannot start");
  Check(api_.DisableTelemetryEvents(env_), "ONNX Runtime cannot start");
}

std::vector<std::string> Environment::Providers() const {
  char** names = nullptr;
  int count = 0;
  Check(api_.GetAvailableProviders(&names, &count), "ONNX Runtime cannot list its providers");
  std::vector<std::string> providers(names, names + count);
  Check(api_.ReleaseAvailableProviders(names, count), "ONNX Runtime cannot list its providers");
  return providers;
}

bool Environment::HasProvider(const std::string& name) const {
  const auto providers = Providers();
  return std::find(providers.begin(), providers.end(), name) != providers.end();
}

void Environment::Check(OrtStatus* status, const std::string& doing) const {
  if (!status) return;
  const std::string message = OneLine(Reason(api_.GetErrorMessage(status)));
  api_.ReleaseStatus(status);
  throw Error(Code::Runtime, doing + ": " + message);
}

void Environment::CheckOnCpu(OrtStatus* status, const std::string& doing) const {
  if (!status) return;
  // ONNX Runtime has no code for it: its arena has a sentence of its own, all else lets the C++
  // exception's name through.
  const std::string message = api_.GetErrorMessage(status);
  for (const char* words : {"std::bad_alloc", "Failed to allocate memory for requested buffer"}) {
    if (message.find(words) == std::string::npos) continue;
    api_.ReleaseStatus(status);
    throw std::bad_alloc();
  }
  Check(status, doing);
}

}  // namespace g4v::ort
