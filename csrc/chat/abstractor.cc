#include "chat/abstractor.h"

#include "base/error.h"

namespace g4v {
namespace {

const char* const kMemory = "memory";

}  // namespace

Abstractor::Abstractor(const std::shared_ptr<ort::Environment>& environment, const Bundle& bundle,
                       const Placement& placement)
    : spec_(Require(bundle.manifest().components.abstractor, "abstractor")),
      session_(environment, GraphFor(bundle, spec_.variants, placement, "abstractor")) {
  const Variant& variant = Place(spec_.variants, placement.targets, "abstractor").variant;
  if (variant.memory_graph.empty()) {
    if (!session_.has_input(kMemory)) return;
    throw Error(Code::Bundle, variant.graph +
                                  " reads 'memory', which no graph of this bundle makes; export "
                                  "the bundle again");
  }
  ort::GraphFile graph = GraphFor(bundle, spec_.variants, placement, "abstractor");
  graph.path = bundle.PathOf(variant.memory_graph).string();
  memory_session_.emplace(environment, graph);
  const std::vector<int64_t>& made = memory_session_->output_shape(kMemory);
  const std::vector<int64_t>& read = session_.input_shape(kMemory);
  if (made.size() != 3 || made.back() <= 0 || read != made) {
    throw Error(Code::Bundle,
                "the abstractor's two graphs do not fit together; export the bundle again");
  }
}

int64_t Abstractor::values_per_frame(int64_t tokens_per_frame) const {
  return tokens_per_frame * memory_session_->output_shape(kMemory).back();
}

VideoTokens Abstractor::Run(const FrameEncoder::Features& features, ort::RunControl* control) {
  return Tokens({"features", ort::View(features.values, features.shape)}, control);
}

VideoTokens Abstractor::Run(const FrameEncoder::Features& features, std::span<const FrameKey> keys,
                            const FrameMemory::Plan& plan, FrameMemory& memory,
                            ort::RunControl* control) {
  const int64_t tokens = features.shape[1];
  const int64_t width = features.shape[2];
  const int64_t columns = memory_session_->output_shape(kMemory).back();
  // Frame by frame: what follows the product in the graph then finds its rows in the cache.
  const float* next = features.values.data();
  for (const auto& missing : plan.missing) {
    const ort::NamedTensor in{"features", ort::View(next, {1, tokens, width})};
    const ort::NamedTensor out{kMemory, ort::View(memory.slot(missing.slot), {1, tokens, columns})};
    memory_session_->Run({&in, 1}, {&out, 1}, control);
    next += tokens * width;
  }
  memory.Complete(plan, keys);
  return Tokens({kMemory, ort::View(memory.slot(0), {memory.frames(), tokens, columns})}, control);
}

VideoTokens Abstractor::Tokens(const ort::NamedTensor& input, ort::RunControl* control) {
  auto tokens = std::make_shared<std::vector<float>>(static_cast<size_t>(spec_.output_tokens) *
                                                     static_cast<size_t>(spec_.output_size));
  const ort::NamedTensor out{"video_tokens",
                             ort::View(*tokens, {spec_.output_tokens, spec_.output_size})};
  session_.Run({&input, 1}, {&out, 1}, control);
  return tokens;
}

}  // namespace g4v
