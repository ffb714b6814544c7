#include "bundle/placement.h"

#include <utility>

#include "base/error.h"

namespace g4v {

Placed Place(const std::vector<Variant>& variants, const ort::Targets& targets,
             const std::string& component) {
  for (const ort::Target& target : targets.usable) {
    for (const Variant& variant : variants) {
      if (variant.target == target.name && (!variant.graph.empty() || target.device == "cpu")) {
        return {variant, target.device};
      }
    }
  }
  for (const Variant& variant : variants) {
    if (!variant.graph.empty()) continue;
    throw Error(Code::Bundle, "the bundle's " + component +
                                  " has packed weights for the CPU and no graph, which a GPU would "
                                  "run; load it with device \"auto\" or \"cpu\", or export it "
                                  "without --no-decoder-graph");
  }
  std::string found, reasons;
  for (const Variant& variant : variants) {
    found += (found.empty() ? "\"" : ", \"") + variant.target + "\"";
    const auto refused = targets.refused.find(variant.target == "cpu" ? "cuda" : variant.target);
    if (refused != targets.refused.end())
      reasons += (reasons.empty() ? "" : "; ") + refused->second;
  }
  if (!reasons.empty()) {
    throw Error(Code::Runtime, "the bundle's " + component + " is written for " + found +
                                   ", which cannot be used here: " + reasons);
  }
  const std::string wanted = targets.usable.empty() ? "cpu" : targets.usable.back().name;
  throw Error(Code::Bundle, "the bundle's " + component + " has no variant for \"" + wanted +
                                "\", only for " + found + "; export one with --target " + wanted);
}

ort::GraphFile GraphFor(const Bundle& bundle, const std::vector<Variant>& variants,
                        const Placement& placement, const std::string& component) {
  const Placed placed = Place(variants, placement.targets, component);
  return GraphFor(bundle, placed, placed.variant.graph, placement);
}

ort::GraphFile GraphFor(const Bundle& bundle, const Placed& placed, const std::string& name,
                        const Placement& placement) {
  GraphSource source = bundle.Graph(placed.variant, name);
  ort::GraphFile graph{source.path.string(), placement.options, std::move(source.model),
                       std::move(source.files)};
  graph.options.device = placed.device;
  if (!graph.model.empty()) graph.options.external_data_folder = "/";
  return graph;
}

}  // namespace g4v
