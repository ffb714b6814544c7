#include "decoder/cpu/cpu_decoder.h"

#include <vector>

namespace g4v {
CpuDecoder::CpuDecoder(const Bundle& bundle, const Variant& variant,
                       const CpuDecoderOptions& options)
    : Decoder(bundle),
      model_(spec(), TensorFile(bundle.Map(variant.packed), variant.packed), options) {}

std::unique_ptr<KvCache> CpuDecoder::NewCache() const { return model_.NewCache(); }

void CpuDecoder::Step(std::span<Sequence> sequences) {
  try {
    std::vector<Forward::Sequence> parts;
    for (const Sequence& sequence : sequences) {
      parts.push_back({static_cast<CpuKvCache*>(sequence.cache), sequence.rows, sequence.logits,
                       sequence.control});
    }
    model_.Step(parts);
  } catch (...) {
    for (Sequence& sequence : sequences) sequence.error = std::current_exception();
  }
}

}  // namespace g4v
