#include "decoder/graph/graph_decoder.h"

#include <vector>

namespace g4v {
GraphDecoder::GraphDecoder(std::shared_ptr<ort::Environment> environment, const Bundle& bundle,
                           const Placement& placement)
    : Decoder(bundle),
      session_(environment, GraphFor(bundle, spec().variants, placement, "decoder")),
      cache_type_(session_.input_type("past_key_values.0.key")) {
  // The CUDA provider's attention has no float32: a graph in it is computed on the CPU there.
  if (session_.device() == "cuda" && cache_type_ == ort::DType::F16) {
    ort::SessionOptions growing = placement.options;
    growing.device = session_.device();
    growing_ = MakeGrowingSession(environment, cache_type_, growing);
  }
}

std::unique_ptr<KvCache> GraphDecoder::NewCache() const {
  return std::make_unique<GraphKvCache>(spec(), cache_type_, growing_.get());
}

void GraphDecoder::Step(std::span<Sequence> sequences) {
  for (Sequence& sequence : sequences) {
    try {
      Run(sequence);
    } catch (...) {
      sequence.error = std::current_exception();
    }
  }
}

void GraphDecoder::Run(const Sequence& sequence) {
  auto& cache = static_cast<GraphKvCache&>(*sequence.cache);
  const auto rows = static_cast<int>(sequence.rows.size()) / spec().hidden_size;
  cache.Reserve(rows);
  const int32_t total = cache.length() + rows;
  const int32_t last = total - 1;
  std::vector<float> unwanted;
  std::span<float> logits = sequence.logits;
  if (logits.empty())
    logits = unwanted = std::vector<float>(static_cast<size_t>(spec().vocab_size));
  std::vector<ort::NamedTensor> inputs = {
      {"inputs_embeds", ort::View(sequence.rows.data(), {1, rows, spec().hidden_size})},
      {"seqlens_k", ort::View(&last, {1})},
      {"total_sequence_length", ort::View(&total, {})}};
  inputs.insert(inputs.end(), cache.past().begin(), cache.past().end());
  std::vector<ort::NamedTensor> outputs = {
      {"logits", ort::View(logits.data(), {1, 1, spec().vocab_size})}};
  outputs.insert(outputs.end(), cache.present().begin(), cache.present().end());
  session_.Run(inputs, outputs, sequence.control);
  cache.Advance(rows);
}

}  // namespace g4v
