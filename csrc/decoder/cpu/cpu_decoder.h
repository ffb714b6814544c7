// The decoder of a bundle that has packed weights, on the CPU.
#pragma once

#include <memory>
#include <span>

#include "decoder/cpu/cpu_model.h"
#include "decoder/decoder.h"

namespace g4v {

class CpuDecoder final : public Decoder {
 public:
  // Throws Error(Bundle) where the packed weights or the embedding do not fit the manifest.
  CpuDecoder(const Bundle& bundle, const Variant& variant, int threads);

  std::unique_ptr<KvCache> NewCache() const override;
  void Append(KvCache& cache, std::span<const float> rows, std::span<float> logits,
              ort::RunControl* control) override;

 private:
  CpuModel model_;
};

}  // namespace g4v
