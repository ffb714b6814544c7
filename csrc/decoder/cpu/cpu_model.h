// A LLaMA decoder on the CPU, without ONNX Runtime: packed weights, keys and values in pages, and
// several conversations in one step.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>

#include "decoder/cpu/forward.h"
#include "decoder/cpu/kv_pages.h"
#include "decoder/cpu/packed_weights.h"
#include "decoder/cpu_options.h"
#include "decoder/kv_cache.h"
#include "kernels/cpu/team.h"

namespace g4v {

class CpuKvCache final : public KvCache {
 public:
  CpuKvCache(KvPages pages, int length) : pages_(std::move(pages)), length_(length) {}

  int length() const override { return length_; }
  void Truncate(int length) override;
  void Reserve(int tokens) override { pages_.Reserve(length_, length_ + tokens); }
  // Pages are shared until one of the two writes to them.
  std::unique_ptr<KvCache> Copy() const override;
  uint64_t bytes() const override { return pages_.bytes(); }
  uint64_t BytesWith(int tokens) const override { return pages_.BytesWith(length_ + tokens); }

  KvPages& pages() { return pages_; }
  void Advance(int tokens) { length_ += tokens; }

 private:
  KvPages pages_;
  int length_;
};

// Holds no state of a conversation. Steps of several threads take turns.
class CpuModel {
 public:
  // Throws Error(Bundle) where the file does not fit the sizes, and Error(InvalidArgument) for
  // options out of their range.
  CpuModel(const DecoderSpec& spec, TensorFile file, const CpuDecoderOptions& options);

  const DecoderSpec& spec() const { return spec_; }
  std::unique_ptr<CpuKvCache> NewCache() const;
  uint64_t kv_bytes() const { return pool_->bytes_in_use(); }

  // One step of several conversations, each with a cache of its own: appends the rows of each and
  // writes the logits of those that ask for them. What a conversation gets does not depend on the
  // others, bit for bit. Throws Error(Cancelled) where the controls of all are terminated, and
  // Error(ContextFull) where there is no room for keys and values; then no cache has changed.
  void Step(std::span<const Forward::Sequence> sequences);

 private:
  const DecoderSpec spec_;
  PackedWeights weights_;
  std::shared_ptr<KvPagePool> pool_;
  kernels::Team team_;
  std::mutex steps_;  // guards the workspace
  Forward::Workspace workspace_;
};

}  // namespace g4v
