#include "decoder/graph/graph_kv_cache.h"

#include <algorithm>
#include <string>

namespace g4v {
namespace {

constexpr int kFirstCapacity = 256;

// Fields of ONNX's protobuf messages; all are shorter than 128 bytes.
std::string Field(int number, const std::string& content) {
  return {std::string{static_cast<char>(number << 3 | 2), static_cast<char>(content.size())} +
          content};
}

std::string Field(int number, int value) {
  return {static_cast<char>(number << 3), static_cast<char>(value)};
}

// A ValueInfoProto without a shape.
std::string Value(const std::string& name, int element) {
  return Field(1, name) + Field(2, Field(1, Field(1, element)));
}

// ONNX, ir_version 8, opset 18: present = Pad(past, pads)
std::string GrowingModel(int element) {
  const std::string node =
      Field(1, "past") + Field(1, "pads") + Field(2, "present") + Field(4, "Pad");
  const std::string graph = Field(1, node) + Field(2, "grow") + Field(11, Value("past", element)) +
                            Field(11, Value("pads", ort::abi::kElementInt64)) +
                            Field(12, Value("present", element));
  return Field(1, 8) + Field(8, Field(2, 18)) + Field(7, graph);
}

}  // namespace

GraphKvCache::GraphKvCache(const DecoderSpec& spec, ort::DType dtype, ort::Session* device)
    : spec_(spec),
      dtype_(dtype),
      device_(device),
      buffers_(static_cast<size_t>(spec.layers) * 2),
      device_buffers_(static_cast<size_t>(spec.layers) * 2) {
  for (int layer = 0; layer < spec.layers; ++layer) {
    for (const char* part : {".key", ".value"}) {
      past_.push_back({"past_key_values." + std::to_string(layer) + part, {}});
      present_.push_back({"present." + std::to_string(layer) + part, {}});
    }
  }
}

int64_t GraphKvCache::CapacityWith(int tokens) const {
  if (length_ + tokens <= capacity_) return capacity_;
  int64_t capacity = std::max(capacity_, kFirstCapacity);
  while (capacity < length_ + tokens) capacity *= 2;
  return std::min<int64_t>(capacity, spec_.context_length);
}

void GraphKvCache::Reserve(int tokens) {
  if (length_ + tokens <= capacity_) return;
  const int64_t capacity = CapacityWith(tokens);
  if (device_) {
    GrowOnDevice(capacity);
  } else {
    GrowOnHost(capacity);
  }
  capacity_ = static_cast<int>(capacity);
}

std::vector<int64_t> GraphKvCache::Shape(int64_t capacity) const {
  return {1, spec_.kv_heads, capacity, spec_.head_dim};
}

uint64_t GraphKvCache::BytesOf(int64_t capacity) const {
  const uint64_t values = static_cast<uint64_t>(spec_.kv_heads) * static_cast<uint64_t>(capacity) *
                          static_cast<uint64_t>(spec_.head_dim);
  return past_.size() * values * ort::SizeOf(dtype_);
}

std::unique_ptr<KvCache> GraphKvCache::Copy() const {
  auto copy = std::make_unique<GraphKvCache>(spec_, dtype_, device_);
  copy->length_ = length_;
  if (capacity_ == 0) return copy;
  copy->capacity_ = capacity_;
  copy->buffers_ = buffers_;
  for (size_t i = 0; i < past_.size(); ++i) {
    if (device_) {
      const ort::TensorView& own = device_buffers_[i]->view();
      copy->device_buffers_[i] = Padded(own, own.shape[2]);
      copy->past_[i].tensor = copy->device_buffers_[i]->view();
    } else {
      copy->past_[i].tensor = {dtype_, copy->buffers_[i].data(), Shape(capacity_), nullptr};
    }
    copy->present_[i].tensor = copy->past_[i].tensor;
  }
  return copy;
}

void GraphKvCache::GrowOnHost(int64_t capacity) {
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
  for (size_t i = 0; i < buffers_.size(); ++i) {
    past_[i].tensor = {dtype_, buffers_[i].data(), Shape(capacity), nullptr};
    present_[i].tensor = past_[i].tensor;
  }
}

// Buffer by buffer, so that no more than one of them is there twice. After an error those that are
// larger already serve as they are: the graph reads no more of them than their tokens.
void GraphKvCache::GrowOnDevice(int64_t capacity) {
  const size_t row = static_cast<size_t>(spec_.kv_heads) * static_cast<size_t>(spec_.head_dim);
  const std::vector<std::byte> zeros(row * ort::SizeOf(dtype_));
  const ort::TensorView first{dtype_,
                              const_cast<std::byte*>(zeros.data()),  // only read
                              Shape(1), nullptr};
  for (size_t i = 0; i < device_buffers_.size(); ++i) {
    const ort::TensorView& old = device_buffers_[i] ? device_buffers_[i]->view() : first;
    if (old.shape[2] < capacity) device_buffers_[i] = Padded(old, capacity);
    past_[i].tensor = present_[i].tensor = device_buffers_[i]->view();
  }
}

std::unique_ptr<ort::DeviceTensor> GraphKvCache::Padded(const ort::TensorView& old,
                                                        int64_t capacity) const {
  auto grown = device_->Allocate(dtype_, Shape(capacity));
  const std::vector<int64_t> pads = {0, 0, 0, 0, 0, 0, capacity - old.shape[2], 0};
  const ort::NamedTensor inputs[] = {{"past", old}, {"pads", ort::View(pads, {8})}};
  const ort::NamedTensor output{"present", grown->view()};
  device_->Run(inputs, {&output, 1});
  return grown;
}

std::unique_ptr<ort::Session> MakeGrowingSession(std::shared_ptr<ort::Environment> environment,
                                                 ort::DType dtype,
                                                 const ort::SessionOptions& options) {
  const int element =
      dtype == ort::DType::F16 ? ort::abi::kElementFloat16 : ort::abi::kElementFloat;
  return std::make_unique<ort::Session>(std::move(environment), GrowingModel(element),
                                        "that enlarges the cache", options);
}

}  // namespace g4v
