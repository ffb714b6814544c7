// Which variants of a bundle can be run here, and by what.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ort/library.h"

namespace g4v::ort {

// A variant's target, such as "tensorrt-rtx", and the device of the sessions that run its graphs
// (SessionOptions::device).
struct Target {
  std::string name;
  std::string device;
};

struct Targets {
  std::string device = "cpu";                       // "cuda" where anything runs on a GPU
  std::vector<Target> usable = {{"cpu", "cpu"}};    // best first
  std::map<std::string, std::string> refused = {};  // the reason, by target
};

struct TargetOptions {
  std::string device = "auto";
  std::set<std::string> wanted = {};            // targets that the bundle has variants for
  std::vector<std::string> provider_dirs = {};  // folders of what providers need
};

// Device "cpu" is the CPU alone. "cuda" is GPUs alone: engines first, then graphs for CUDA, then
// those for the CPU, run by the CUDA provider. Throws Error(Runtime) where nothing of that can be
// used. "auto" is the same with the CPU at the end: in place of a CUDA provider that cannot be used,
// or for what has no graph that one could run. Throws Error(InvalidArgument) for other names.
Targets ResolveTargets(const std::shared_ptr<Environment>& environment,
                       const TargetOptions& options);

}  // namespace g4v::ort
