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

// Whether the core runs the variant itself, from packed weights, and not its graph.
inline bool RunsPacked(const Placed& placed) {
  return placed.device == "cpu" && !placed.variant.packed.empty();
}

// Holds no state of a conversation: any number of threads may use one decoder, each with a cache of
// its own.
class Decoder {
 public:
  // The variant for the best target that can be used: packed weights for the CPU are run by the
  // core itself (decoder/cpu), graphs by ONNX Runtime (decoder/graph). Throws Error(Bundle) where
  // it does not fit the manifest.
  static std::unique_ptr<Decoder> Make(std::shared_ptr<ort::Environment> environment,
                                       const Bundle& bundle, const Placement& placement);
  virtual ~Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  const DecoderSpec& spec() const { return spec_; }

  // An empty cache, for this decoder alone.
  virtual std::unique_ptr<KvCache> NewCache() const = 0;

  // Appends the embeddings of `ids` to `rows`, row-major [n, hidden_size].
  void Embed(std::span<const int32_t> ids, std::vector<float>& rows) const;

  // Appends rows [n, hidden_size], n >= 1, to the cache, which must have room below the context
  // length, and writes the logits [vocab_size] after the last one. Throws Error(Cancelled) where
  // `control` was terminated; after an error the cache's length is between what it was and what it
  // would be.
  virtual void Append(KvCache& cache, std::span<const float> rows, std::span<float> logits,
                      ort::RunControl* control) = 0;

 protected:
  // Throws Error(Bundle) where the embedding does not fit the manifest.
  explicit Decoder(const Bundle& bundle);

 private:
  DecoderSpec spec_;
  MappedFile embedding_;
};

}  // namespace g4v
