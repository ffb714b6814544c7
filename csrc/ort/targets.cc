#include "ort/targets.h"

#include "base/error.h"
#include "ort/native_options.h"
#include "ort/rtx_plugin.h"
#include "ort/session.h"

namespace g4v::ort {
namespace {

// Throws Error(Runtime) where engines of the target cannot be run.
void TryEngines(const Environment& environment, const std::string& target,
                const TargetOptions& options) {
  if (target == "tensorrt-rtx") {
    RtxPlugin::Get(environment, options.provider_dirs);
    return;
  }
  SessionOptions session;
  session.device = target;
  const bool present = environment.HasProvider("TensorrtExecutionProvider");
  const auto missing =
      present ? PreloadTensorRtLibraries(options.provider_dirs) : std::vector<std::string>{};
  if (!missing.empty()) {
    throw Error(Code::Runtime, "engines of TensorRT cannot be used: " + missing.front() +
                                   "; `pip install \"g4v[tensorrt]\"` brings TensorRT's libraries");
  }
  const NativeOptions loads_the_provider(environment, session);
}

}  // namespace

Targets ResolveTargets(const std::shared_ptr<Environment>& environment,
                       const TargetOptions& options) {
  if (options.device != "auto" && options.device != "cpu" && options.device != "cuda") {
    throw Error(Code::InvalidArgument,
                "unknown device \"" + options.device + "\"; use \"auto\", \"cpu\" or \"cuda\"");
  }
  Targets targets;
  if (options.device == "cpu") return targets;
  targets.usable.clear();
  for (const char* engine : {"tensorrt-rtx", "tensorrt"}) {
    if (!options.wanted.contains(engine)) continue;
    try {
      TryEngines(*environment, engine, options);
      targets.usable.push_back({engine, engine});
    } catch (const Error& error) {
      targets.refused[engine] = error.what();
    }
  }
  try {
    ProbeDevice(environment, "cuda");
    targets.usable.push_back({"cuda", "cuda"});
    targets.usable.push_back({"cpu", "cuda"});
  } catch (const Error& error) {
    targets.refused["cuda"] = error.what();
  }
  if (!targets.usable.empty()) targets.device = "cuda";
  if (options.device == "auto") {
    // Where CUDA can be used, for what has no graph that it could run.
    targets.usable.push_back({"cpu", "cpu"});
  } else if (targets.usable.empty()) {
    std::string reasons = targets.refused.at("cuda");
    for (const auto& [target, reason] : targets.refused) {
      if (target != "cuda") reasons += "; " + reason;
    }
    throw Error(Code::Runtime, reasons);
  }
  return targets;
}

}  // namespace g4v::ort
