#include "decoder/decoder.h"

#include <cstring>
#include <string>

#include "base/error.h"
#include "decoder/cpu/cpu_decoder.h"
#include "decoder/graph/graph_decoder.h"
#include "kernels/cpu/float16.h"

namespace g4v {
namespace {

size_t ElementSize(const EmbeddingSpec& embedding) { return embedding.dtype == "float16" ? 2 : 4; }

}  // namespace

std::unique_ptr<Decoder> Decoder::Make(std::shared_ptr<ort::Environment> environment,
                                       const Bundle& bundle, const Placement& placement,
                                       const CpuDecoderOptions& options) {
  const DecoderSpec& spec = Require(bundle.manifest().components.decoder, "decoder");
  const Placed placed = Place(spec.variants, placement.targets, "decoder");
  if (RunsPacked(placed)) {
    return std::make_unique<CpuDecoder>(bundle, placed.variant, options);
  }
  const char* const set = options.kv_memory != 0 ? "kv_memory" : "kv_dtype";
  if (options.kv_memory != 0 || options.kv_dtype != "auto") {
    throw Error(Code::InvalidArgument,
                std::string(set) +
                    " is for decoders that g4v runs itself, from packed weights on "
                    "the CPU, and this one runs as a graph (target " +
                    placed.variant.target + "); load the bundle without " + set);
  }
  return std::make_unique<GraphDecoder>(std::move(environment), bundle, placement);
}

Decoder::Decoder(const Bundle& bundle)
    : spec_(Require(bundle.manifest().components.decoder, "decoder")),
      embedding_(bundle.Map(spec_.embedding.file)) {
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
        to[i] = kernels::Float16ToFloat(half);
      }
    }
    to += width;
  }
}

}  // namespace g4v
