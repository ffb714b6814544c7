// The language model: embeddings in, logits out.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/mapped_file.h"
#include "bundle/bundle.h"
#include "bundle/placement.h"
#include "decoder/kv_cache.h"
#include "ort/session.h"

namespace g4v {

// Holds no state of a chat: any number of threads may use one decoder, each with a cache of
// its own.
class Decoder {
 public:
  // Throws Error(Bundle) where the graph or the embedding does not fit the manifest.
  Decoder(std::shared_ptr<ort::Environment> environment, const Bundle& bundle,
          const Placement& placement);

  const DecoderSpec& spec() const { return spec_; }

  // An empty cache of the type that the graph has, on the graph's device where it is computed
  // there.
  KvCache NewCache() const { return KvCache(spec_, cache_type_, growing_.get()); }

  // Appends the embeddings of `ids` to `rows`, row-major [n, hidden_size].
  void Embed(std::span<const int32_t> ids, std::vector<float>& rows) const;

  // Appends rows [n, hidden_size], n >= 1, to the cache, which must have room below the context
  // length, and writes the logits [vocab_size] after the last one. Long inputs run in chunks. After
  // an error the cache's length is between what it was and what it would be.
  //   inputs_embeds [1, S, hidden_size], seqlens_k int32 [1] (total length - 1),
  //   total_sequence_length int32 [], past_key_values.{i}.key/.value -> logits [1, 1, vocab_size],
  //   present.{i}.key/.value (the same memory as past)
  void Append(KvCache& cache, std::span<const float> rows, std::span<float> logits,
              ort::RunControl* control);

 private:
  DecoderSpec spec_;
  MappedFile embedding_;
  ort::Session session_;
  ort::DType cache_type_;
  std::unique_ptr<ort::Session> growing_;  // where the caches are on the GPU
};

}  // namespace g4v
