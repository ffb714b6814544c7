#include "decoder/graph/graph_decoder.h"

#include <algorithm>

#include "base/error.h"

namespace g4v {
namespace {

// Tokens of one run of a prefill: long enough for full speed, short enough for a quick cancel.
constexpr int kChunk = 512;

}  // namespace

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

void GraphDecoder::Append(KvCache& any, std::span<const float> rows, std::span<float> logits,
                          ort::RunControl* control) {
  auto& cache = static_cast<GraphKvCache&>(any);
  const size_t width = static_cast<size_t>(spec().hidden_size);
  const int count = static_cast<int>(rows.size() / width);
  cache.Reserve(cache.length() + count);
  std::vector<ort::NamedTensor> inputs;
  std::vector<ort::NamedTensor> outputs;
  for (int done = 0; done < count;) {
    const int size = std::min(kChunk, count - done);
    const int32_t total = cache.length() + size;
    const int32_t last = total - 1;
    inputs.assign({{"inputs_embeds", ort::View(rows.data() + static_cast<size_t>(done) * width,
                                               {1, size, spec().hidden_size})},
                   {"seqlens_k", ort::View(&last, {1})},
                   {"total_sequence_length", ort::View(&total, {})}});
    inputs.insert(inputs.end(), cache.past().begin(), cache.past().end());
    outputs.assign({{"logits", ort::View(logits.data(), {1, 1, spec().vocab_size})}});
    outputs.insert(outputs.end(), cache.present().begin(), cache.present().end());
    session_.Run(inputs, outputs, control);
    cache.Advance(size);
    done += size;
  }
}

}  // namespace g4v
