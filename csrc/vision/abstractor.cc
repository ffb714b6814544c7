#include "vision/abstractor.h"

#include <algorithm>

#include "base/error.h"

namespace g4v {
namespace {

const char* const kMemory = "memory";

}  // namespace

Abstractor::Abstractor(const std::shared_ptr<ort::Environment>& environment, const Bundle& bundle,
                       const Placement& placement)
    : spec_(Require(bundle.manifest().components.abstractor, "abstractor")) {
  const Placed placed = Place(spec_.variants, placement.targets, "abstractor");
  const ort::GraphFile graph = GraphFor(bundle, placed, placed.variant.graph, placement);
  if (placement.cuda_graphs && per_frame()) {
    throw Error(Code::InvalidArgument,
                "cuda_graphs are for abstractors of the kind mplug-owl, and "
                "this bundle's is of the kind " +
                    spec_.kind + "; load it without cuda_graphs");
  }
  if (!placement.cuda_graphs) {
    session_.emplace(environment, graph);
  } else if (placed.device == "cuda") {
    captured_.emplace(environment, graph, *placement.cuda_graphs);
  } else {
    throw Error(Code::InvalidArgument,
                "cuda_graphs are for the CUDA provider, and this bundle's abstractor runs on \"" +
                    placed.device + "\"; load it without cuda_graphs");
  }
  const Variant& variant = placed.variant;
  if (variant.memory_graph.empty()) {
    if (!session().has_input(kMemory)) return;
    throw Error(Code::Bundle, variant.graph +
                                  " reads 'memory', which no graph of this bundle makes; export "
                                  "the bundle again");
  }
  memory_session_.emplace(environment, GraphFor(bundle, placed, variant.memory_graph, placement));
  const std::vector<int64_t>& made = memory_session_->output_shape(kMemory);
  const std::vector<int64_t>& read = session().input_shape(kMemory);
  if (made.size() != 3 || made.back() <= 0 || read != made) {
    throw Error(Code::Bundle,
                "the abstractor's two graphs do not fit together; export the bundle again");
  }
}

int64_t Abstractor::values_per_frame(int64_t tokens_per_frame) const {
  if (per_frame()) return int64_t{spec_.output_tokens} * spec_.output_size;
  return tokens_per_frame * memory_session_->output_shape(kMemory).back();
}

VideoTokens Abstractor::Run(const FrameEncoder::Features& features, int64_t most,
                            ort::RunControl* control) {
  const std::vector<uint64_t> stamps(static_cast<size_t>(features.shape[0]));  // all 0
  return Tokens({"features", ort::View(features.values, features.shape)}, stamps, most, control);
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
  std::vector<uint64_t> stamps;
  for (int64_t slot = 0; slot < memory.frames(); ++slot) stamps.push_back(memory.stamp(slot));
  return Tokens({kMemory, ort::View(memory.slot(0), {memory.frames(), tokens, columns})}, stamps,
                memory.capacity(), control);
}

void Abstractor::Fill(const FrameEncoder::Features& features,
                      std::span<const FrameMemory::Plan::Missing> frames, FrameMemory& memory,
                      ort::RunControl* control) {
  const auto count = static_cast<int64_t>(frames.size());
  const int64_t size = values_per_frame(0);
  std::vector<float> made(static_cast<size_t>(count * size));
  const ort::NamedTensor in{"features", ort::View(features.values, features.shape)};
  const ort::NamedTensor out{"video_tokens",
                             ort::View(made, {count * spec_.output_tokens, spec_.output_size})};
  session_->Run({&in, 1}, {&out, 1}, control);
  const float* next = made.data();
  for (const auto& [slot, frame] : frames) {
    std::copy_n(next, size, memory.slot(slot));
    next += size;
  }
}

VideoTokens Abstractor::Gather(const FrameMemory::Plan& plan, FrameMemory& memory) const {
  const int64_t size = values_per_frame(0);
  auto tokens = std::make_shared<std::vector<float>>();
  tokens->reserve(plan.slots.size() * static_cast<size_t>(size));
  for (const int64_t slot : plan.slots) {
    tokens->insert(tokens->end(), memory.slot(slot), memory.slot(slot) + size);
  }
  return tokens;
}

VideoTokens Abstractor::Tokens(const ort::NamedTensor& input, std::span<const uint64_t> stamps,
                               int64_t most, ort::RunControl* control) {
  auto tokens = std::make_shared<std::vector<float>>(static_cast<size_t>(spec_.output_tokens) *
                                                     static_cast<size_t>(spec_.output_size));
  const ort::NamedTensor out{"video_tokens",
                             ort::View(*tokens, {spec_.output_tokens, spec_.output_size})};
  if (!captured_) {
    session_->Run({&input, 1}, {&out, 1}, control);
    return tokens;
  }
  const std::vector<int64_t> frame(input.tensor.shape.begin() + 1, input.tensor.shape.end());
  const float* next = static_cast<const float*>(input.tensor.data);
  std::vector<ort::CapturedSession::Block> blocks;
  for (const uint64_t stamp : stamps) {
    blocks.push_back({next, stamp});
    next += frame[0] * frame[1];
  }
  captured_->Run({input.name, frame, blocks, most, out.name, out.tensor}, control);
  return tokens;
}

}  // namespace g4v
