#include "decoder/cpu/cpu_model.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/process.h"

namespace g4v {
namespace {

// How long a thread waits awake for the next step: longer than a token takes to be sampled.
constexpr std::chrono::microseconds kSpin(200);

kernels::DType CacheType(const PackedWeights& weights) {
  // Products of floats are exact enough that rounded keys would be what is seen.
  return HasCodes(weights.head().kind) ? kernels::DType::kFloat16 : kernels::DType::kFloat32;
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

std::unique_ptr<CpuKvCache> CpuKvCache::Copy() const {
  return std::make_unique<CpuKvCache>(pages_, length_);
}

CpuModel::CpuModel(const DecoderSpec& spec, TensorFile file, int threads)
    : spec_(spec),
      weights_(std::move(file), spec_),
      pool_(std::make_shared<KvPagePool>(spec_, CacheType(weights_), 0)),
      team_(threads, kSpin) {}

std::unique_ptr<CpuKvCache> CpuModel::NewCache() const {
  return std::make_unique<CpuKvCache>(KvPages(pool_), 0);
}

void CpuModel::Step(std::span<const Forward::Sequence> sequences) {
  const auto count_of = [&](const Forward::Sequence& sequence) {
    return static_cast<int>(sequence.rows.size()) / spec_.hidden_size;
  };
  for (const Forward::Sequence& sequence : sequences) {
    const int length = sequence.cache->length();
    sequence.cache->pages().Reserve(length, length + count_of(sequence));
  }
  {
    const LibraryWork work(LibraryWork::Kind::kRun, &StopAll, &sequences);
    const std::lock_guard lock(steps_);
    Forward(spec_, weights_, team_, workspace_, sequences).Run();
  }
  for (const Forward::Sequence& sequence : sequences) sequence.cache->Advance(count_of(sequence));
}

}  // namespace g4v
