#include "decoder/cpu/cpu_decoder.h"

#include <algorithm>

namespace g4v {
namespace {

// Tokens of one step of a prefill.
constexpr size_t kChunk = 256;

}  // namespace

CpuDecoder::CpuDecoder(const Bundle& bundle, const Variant& variant, int threads)
    : Decoder(bundle),
      model_(spec(), TensorFile(bundle.Map(variant.packed), variant.packed), threads) {}

std::unique_ptr<KvCache> CpuDecoder::NewCache() const { return model_.NewCache(); }

void CpuDecoder::Append(KvCache& cache, std::span<const float> rows, std::span<float> logits,
                        ort::RunControl* control) {
  const size_t chunk = kChunk * static_cast<size_t>(spec().hidden_size);
  for (size_t done = 0; done < rows.size(); done += chunk) {
    const bool last = done + chunk >= rows.size();
    const Forward::Sequence sequence{&static_cast<CpuKvCache&>(cache),
                                     rows.subspan(done, std::min(chunk, rows.size() - done)),
                                     last ? logits : std::span<float>(), control};
    model_.Step({&sequence, 1});
  }
}

}  // namespace g4v
