#include "decoder/kv_cache.h"

#include <algorithm>
#include <string>

namespace g4v {
namespace {

constexpr int kFirstCapacity = 256;

}  // namespace

KvCache::KvCache(const DecoderSpec& spec, ort::DType dtype)
    : spec_(spec), dtype_(dtype), buffers_(static_cast<size_t>(spec.layers) * 2) {
  for (int layer = 0; layer < spec.layers; ++layer) {
    for (const char* part : {".key", ".value"}) {
      past_.push_back({"past_key_values." + std::to_string(layer) + part, {}});
      present_.push_back({"present." + std::to_string(layer) + part, {}});
    }
  }
}

void KvCache::Reserve(int tokens) {
  if (tokens <= capacity_) return;
  int64_t capacity = std::max(capacity_, kFirstCapacity);
  while (capacity < tokens) capacity *= 2;
  capacity = std::min<int64_t>(capacity, spec_.context_length);

  const size_t heads = static_cast<size_t>(spec_.kv_heads);
  const size_t token = static_cast<size_t>(spec_.head_dim) * ort::SizeOf(dtype_);
  const size_t old_row = static_cast<size_t>(capacity_) * token;
  const size_t new_row = static_cast<size_t>(capacity) * token;
  const size_t used = static_cast<size_t>(length_) * token;
  std::vector<std::vector<std::byte>> grown(buffers_.size());
  for (size_t i = 0; i < buffers_.size(); ++i) {
    grown[i].resize(heads * new_row);
    for (size_t head = 0; head < heads; ++head) {
      std::copy_n(buffers_[i].data() + head * old_row, used, grown[i].data() + head * new_row);
    }
  }
  buffers_ = std::move(grown);
  capacity_ = static_cast<int>(capacity);
  for (size_t i = 0; i < buffers_.size(); ++i) {
    const ort::TensorView view{
        dtype_, buffers_[i].data(), {1, spec_.kv_heads, capacity, spec_.head_dim}};
    past_[i].tensor = view;
    present_[i].tensor = view;
  }
}

}  // namespace g4v
