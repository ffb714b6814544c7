// The provider plugin that runs engines of TensorRT for RTX in ONNX Runtime: a library of its own,
// which the wheel onnxruntime-ep-nv-tensorrt-rtx-cu13 brings with the libraries that it needs.
#pragma once

#include <string>
#include <vector>

#include "ort/library.h"

namespace g4v::ort {

class RtxPlugin {
 public:
  // The plugin of this process; registers it on the first call that finds it. It is looked for at
  // $G4V_TENSORRT_RTX_PROVIDER (its file, or the folder with it) and then in `directories`. Throws
  // Error(Runtime) that says what is missing (the driver, the plugin, a newer ONNX Runtime, a GPU
  // that it can use) and what to install.
  static const RtxPlugin& Get(const Environment& environment,
                              const std::vector<std::string>& directories);

  // A GPU by its number among those that the plugin can use. Throws Error(InvalidArgument).
  const OrtEpDevice* Device(int index) const;

 private:
  RtxPlugin() = default;

  std::vector<const OrtEpDevice*> devices_;
};

}  // namespace g4v::ort
