// The decoder as an ONNX graph, on any target.
#pragma once

#include <memory>
#include <span>

#include "bundle/placement.h"
#include "decoder/decoder.h"
#include "decoder/graph/graph_kv_cache.h"
#include "ort/session.h"

namespace g4v {

class GraphDecoder final : public Decoder {
 public:
  // Throws Error(Bundle) where the graph or the embedding does not fit the manifest.
  GraphDecoder(std::shared_ptr<ort::Environment> environment, const Bundle& bundle,
               const Placement& placement);

  // An empty cache of the type that the graph has, on the graph's device where it is computed
  // there.
  std::unique_ptr<KvCache> NewCache() const override;

  // One conversation after the other:
  //   inputs_embeds [1, S, hidden_size], seqlens_k int32 [1] (total length - 1),
  //   total_sequence_length int32 [], past_key_values.{i}.key/.value -> logits [1, 1, vocab_size],
  //   present.{i}.key/.value (the same memory as past)
  void Step(std::span<Sequence> sequences) override;
  int most_rows() const override { return 512; }
  bool exact_in_parts() const override { return false; }
  uint64_t kv_bytes() const override { return 0; }

 private:
  void Run(const Sequence& sequence);

  ort::Session session_;
  ort::DType cache_type_;
  std::unique_ptr<ort::Session> growing_;  // where the caches are on the GPU
};

}  // namespace g4v
