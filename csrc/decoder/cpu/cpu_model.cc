#include "decoder/cpu/cpu_model.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/process.h"

namespace g4v {
namespace {

kernels::KvType CacheType(const PackedWeights& weights, const std::string& name) {
  using kernels::KvType;
  if (name == "float32") return KvType::kFloat32;
  if (name == "float16") return KvType::kFloat16;
  if (name == "int8") return KvType::kInt8;
  if (name == "auto") {
    return HasCodes(weights.head().kind) ? KvType::kFloat16 : KvType::kFloat32;
  }
  throw Error(
      Code::InvalidArgument,
      "kv_dtype is \"" + name + "\" but must be \"auto\", \"float32\", \"float16\" or \"int8\"");
}

// As the process ends.
void StopAll(void* sequences) noexcept {
  for (const Forward::Sequence& sequence :
       *static_cast<std::span<const Forward::Sequence>*>(sequences)) {
    if (sequence.control) ort::RunControl::Stop(sequence.control);
  }
}

}  // namespace

void CpuKvCache::Truncate(int length) {
  length_ = std::min(length_, length);
  pages_.Truncate(length_);
}

std::unique_ptr<KvCache> CpuKvCache::Copy() const {
  return std::make_unique<CpuKvCache>(pages_, length_);
}

CpuModel::CpuModel(const DecoderSpec& spec, TensorFile file, const CpuDecoderOptions& options)
    : spec_(spec),
      weights_(std::move(file), spec_),
      pool_(std::make_shared<KvPagePool>(spec_, CacheType(weights_, options.kv_dtype),
                                         options.kv_memory)),
      team_(options.threads, options.spin) {}

std::unique_ptr<CpuKvCache> CpuModel::NewCache() const {
  return std::make_unique<CpuKvCache>(KvPages(pool_), 0);
}

void CpuModel::Step(std::span<const Forward::Sequence> sequences) {
  const auto count_of = [&](const Forward::Sequence& sequence) {
    return static_cast<int>(sequence.rows.size()) / spec_.hidden_size;
  };
  for (const Forward::Sequence& sequence : sequences) sequence.cache->Reserve(count_of(sequence));
  {
    const LibraryWork work(LibraryWork::Kind::kRun, &StopAll, &sequences);
    const std::lock_guard lock(steps_);
    Forward(spec_, weights_, team_, workspace_, sequences).Run();
  }
  for (const Forward::Sequence& sequence : sequences) sequence.cache->Advance(count_of(sequence));
}

}  // namespace g4v
