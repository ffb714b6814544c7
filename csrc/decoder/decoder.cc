#include "decoder/decoder.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"

namespace g4v {
namespace {

// Tokens of one run of a prefill: long enough for full speed, short enough for a quick cancel.
constexpr int kChunk = 512;

size_t ElementSize(const EmbeddingSpec& embedding) { return embedding.dtype == "float16" ? 2 : 4; }

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 31;
  const uint32_t fraction = half & 1023;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  const uint32_t widened = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | (widened << 23) | (fraction << 13));
}

}  // namespace

Decoder::Decoder(std::shared_ptr<ort::Environment> environment, const Bundle& bundle,
                 const Placement& placement)
    : spec_(Require(bundle.manifest().components.decoder, "decoder")),
      embedding_(bundle.Map(spec_.embedding.file)),
      session_(environment, GraphFor(bundle, spec_.variants, placement, "decoder")),
      cache_type_(session_.input_type("past_key_values.0.key")) {
  // The CUDA provider's attention has no float32: a graph in it is computed on the CPU there.
  if (session_.device() == "cuda" && cache_type_ == ort::DType::F16) {
    ort::SessionOptions growing = placement.options;
    growing.device = session_.device();
    growing_ = MakeGrowingSession(environment, cache_type_, growing);
  }
  const size_t bytes = static_cast<size_t>(spec_.vocab_size) *
                       static_cast<size_t>(spec_.hidden_size) * ElementSize(spec_.embedding);
  if (embedding_.size() != bytes) {
    throw Error(Code::Bundle, spec_.embedding.file + " has " + std::to_string(embedding_.size()) +
                                  " bytes but the decoder's sizes need " + std::to_string(bytes) +
                                  "; export the bundle again");
  }
}

void Decoder::Embed(std::span<const int32_t> ids, std::vector<float>& rows) const {
  const size_t width = static_cast<size_t>(spec_.hidden_size);
  const size_t start = rows.size();
  rows.resize(start + ids.size() * width);
  float* to = rows.data() + start;
  for (const int32_t id : ids) {
    if (id < 0 || id >= spec_.vocab_size) {
      throw Error(Code::Bundle, "the tokenizer gave the id " + std::to_string(id) +
                                    " but the decoder's vocabulary ends at " +
                                    std::to_string(spec_.vocab_size - 1));
    }
    const size_t row = static_cast<size_t>(id) * width;
    if (ElementSize(spec_.embedding) == 4) {
      std::memcpy(to, embedding_.data() + row * 4, width * 4);
    } else {
      for (size_t i = 0; i < width; ++i) {
        uint16_t half;
        std::memcpy(&half, embedding_.data() + (row + i) * 2, 2);
        to[i] = HalfToFloat(half);
      }
    }
    to += width;
  }
}

void Decoder::Append(KvCache& cache, std::span<const float> rows, std::span<float> logits,
                     ort::RunControl* control) {
  const size_t width = static_cast<size_t>(spec_.hidden_size);
  const int count = static_cast<int>(rows.size() / width);
  cache.Reserve(cache.length() + count);
  std::vector<ort::NamedTensor> inputs;
  std::vector<ort::NamedTensor> outputs;
  for (int done = 0; done < count;) {
    const int size = std::min(kChunk, count - done);
    const int32_t total = cache.length() + size;
    const int32_t last = total - 1;
    inputs.assign({{"inputs_embeds", ort::View(rows.data() + static_cast<size_t>(done) * width,
                                               {1, size, spec_.hidden_size})},
                   {"seqlens_k", ort::View(&last, {1})},
                   {"total_sequence_length", ort::View(&total, {})}});
    inputs.insert(inputs.end(), cache.past().begin(), cache.past().end());
    outputs.assign({{"logits", ort::View(logits.data(), {1, 1, spec_.vocab_size})}});
    outputs.insert(outputs.end(), cache.present().begin(), cache.present().end());
    session_.Run(inputs, outputs, control);
    cache.Advance(size);
    done += size;
  }
}

}  // namespace g4v
