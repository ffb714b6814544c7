// The language model: embeddings in, logits out.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <vector>

#include "base/mapped_file.h"
#include "bundle/bundle.h"
#include "bundle/placement.h"
#include "decoder/cpu_options.h"
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
  // it does not fit the manifest, and Error(InvalidArgument) for options that a graph cannot obey.
  static std::unique_ptr<Decoder> Make(std::shared_ptr<ort::Environment> environment,
                                       const Bundle& bundle, const Placement& placement,
                                       const CpuDecoderOptions& options);
  virtual ~Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  const DecoderSpec& spec() const { return spec_; }

  // An empty cache, for this decoder alone.
  virtual std::unique_ptr<KvCache> NewCache() const = 0;

  // Appends the embeddings of `ids` to `rows`, row-major [n, hidden_size].
  void Embed(std::span<const int32_t> ids, std::vector<float>& rows) const;

  // The part of one conversation in a step.
  struct Sequence {
    KvCache* cache;               // has room for the rows, below the context length
    std::span<const float> rows;  // [n, hidden_size], 1 <= n <= most_rows()
    // After the last rows, [m, vocab_size], m <= n; empty: not wanted. m > 1 where exact_in_parts().
    std::span<float> logits;
    ort::RunControl* control;  // null: cannot be cancelled
    std::exception_ptr error =
        {};  // what went wrong with this one; its cache's length is as before
  };

  // Appends the rows of several conversations, each with a cache of its own, and writes their
  // logits. One that is cancelled alone may go through the step as the others do. Where a control
  // stops the step, the error is Error(Cancelled).
  virtual void Step(std::span<Sequence> sequences) = 0;

  // Rows of one conversation in one step: enough for full speed, few enough for a quick cancel.
  virtual int most_rows() const = 0;
  // Whether what a row gets does not depend on the steps that the rows came in, nor on who else was
  // in them, bit for bit. If so, copies of a cache share their memory as well.
  virtual bool exact_in_parts() const = 0;
  // Of keys and values of all caches, what copies share counted once; 0 where it is not known.
  virtual uint64_t kv_bytes() const = 0;

 protected:
  // Throws Error(Bundle) where the embedding does not fit the manifest.
  explicit Decoder(const Bundle& bundle);

 private:
  DecoderSpec spec_;
  MappedFile embedding_;
};

}  // namespace g4v
