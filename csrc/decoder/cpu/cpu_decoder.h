// The decoder of a bundle that has packed weights, on the CPU.
#pragma once

#include <memory>
#include <span>

#include "decoder/cpu/cpu_model.h"
#include "decoder/decoder.h"

namespace g4v {

class CpuDecoder final : public Decoder {
 public:
  // Throws Error(Bundle) where the packed weights or the embedding do not fit the manifest, and
  // Error(InvalidArgument) for options out of their range.
  CpuDecoder(const Bundle& bundle, const Variant& variant, const CpuDecoderOptions& options);

  std::unique_ptr<KvCache> NewCache() const override;
  void Step(std::span<Sequence> sequences) override;
  int most_rows() const override { return 256; }
  bool exact_in_parts() const override { return true; }
  uint64_t kv_bytes() const override { return model_.kv_bytes(); }

 private:
  CpuModel model_;
};

}  // namespace g4v
