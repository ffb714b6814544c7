// Keys and values of one conversation for a graph.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bundle/manifest.h"
#include "decoder/kv_cache.h"
#include "ort/session.h"

namespace g4v {

// Per layer one buffer for keys and one for values, [1, kv_heads, capacity, head_dim], bound to the
// decoder's past and present alike: the graph appends in place. The buffers grow in powers of two
// up to the context length, so that a short chat with a long-context model is cheap.
class GraphKvCache final : public KvCache {
 public:
  // dtype: F32 or F16, as the graph has it. device: where the buffers are, and which enlarges them
  // (MakeGrowingSession); it must outlive the cache. Null: the host's memory.
  GraphKvCache(const DecoderSpec& spec, ort::DType dtype, ort::Session* device = nullptr);

  int length() const override { return length_; }
  int capacity() const { return capacity_; }

  void Reserve(int tokens) override;
  // Counts `tokens` that were appended in place.
  void Advance(int tokens) { length_ += tokens; }
  void Truncate(int length) override { length_ = std::min(length_, length); }
  std::unique_ptr<KvCache> Copy() const override;
  uint64_t bytes() const override { return BytesOf(capacity_); }
  uint64_t BytesWith(int tokens) const override { return BytesOf(CapacityWith(tokens)); }

  std::span<const ort::NamedTensor> past() const { return past_; }
  std::span<const ort::NamedTensor> present() const { return present_; }

 private:
  int64_t CapacityWith(int tokens) const;  // that Reserve makes
  uint64_t BytesOf(int64_t capacity) const;
  // The size of each buffer where it holds `capacity` tokens.
  std::vector<int64_t> Shape(int64_t capacity) const;
  void GrowOnHost(int64_t capacity);
  void GrowOnDevice(int64_t capacity);
  // A copy in the device's memory with room for `capacity` tokens, at least as many as `old` has.
  std::unique_ptr<ort::DeviceTensor> Padded(const ort::TensorView& old, int64_t capacity) const;

  DecoderSpec spec_;
  int length_ = 0;
  int capacity_ = 0;
  ort::DType dtype_;
  ort::Session* device_;
  // Key and value of each layer in turn, in one of the two.
  std::vector<std::vector<std::byte>> buffers_;
  std::vector<std::unique_ptr<ort::DeviceTensor>> device_buffers_;
  std::vector<ort::NamedTensor> past_;
  std::vector<ort::NamedTensor> present_;
};

// The session that enlarges caches on a device:
//   past [1, H, L, D] of dtype, pads int64 [8] -> present [1, H, L', D], zeros behind the past
std::unique_ptr<ort::Session> MakeGrowingSession(std::shared_ptr<ort::Environment> environment,
                                                 ort::DType dtype,
                                                 const ort::SessionOptions& options);

}  // namespace g4v
