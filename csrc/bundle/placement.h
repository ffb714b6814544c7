// Which variant of a component is run, and the session that runs it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "ort/session.h"
#include "ort/targets.h"

namespace g4v {

struct Placed {
  const Variant& variant;
  std::string device;  // of the session, as in ort::SessionOptions
};

// The variant for the best of the targets that can be used; one that has packed weights and no graph
// is for the device "cpu" alone. Throws Error(Bundle) where there is none, or none with a graph for
// the devices that can be used, and Error(Runtime) with the reasons where what there is cannot be
// used here.
Placed Place(const std::vector<Variant>& variants, const ort::Targets& targets,
             const std::string& component);

// How sessions are made, and where. `options.device` is set for each.
struct Placement {
  ort::Targets targets;
  ort::SessionOptions options;
  // The abstractor runs as CUDA graphs, at most as many; see ort/captured_session.h.
  std::optional<int> cuda_graphs = {};
};

// The graph of the variant that `Place` chooses.
ort::GraphFile GraphFor(const Bundle& bundle, const std::vector<Variant>& variants,
                        const Placement& placement, const std::string& component);
// The graph `name` of the variant that was placed.
ort::GraphFile GraphFor(const Bundle& bundle, const Placed& placed, const std::string& name,
                        const Placement& placement);

}  // namespace g4v
