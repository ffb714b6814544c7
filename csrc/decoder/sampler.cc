#include "decoder/sampler.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"
#include "base/option.h"
#include "base/philox.h"

namespace g4v {

TextGenerationSpec ResolveTextOptions(const TextGenerationSpec& defaults, const TextOptions& first,
                                      const TextOptions& second) {
  TextGenerationSpec spec = defaults;
  for (const TextOptions* options : {&first, &second}) {
    Overlay(options->max_new_tokens, spec.max_new_tokens);
    Overlay(options->temperature, spec.temperature);
    Overlay(options->top_k, spec.top_k);
    Overlay(options->top_p, spec.top_p);
    Overlay(options->repetition_penalty, spec.repetition_penalty);
  }
  CheckRange(kMaxNewTokens, spec.max_new_tokens);
  CheckRange(kTemperature, spec.temperature);
  CheckRange(kTopK, spec.top_k);
  CheckRange(kTopP, spec.top_p);
  CheckRange(kRepetitionPenalty, spec.repetition_penalty);
  return spec;
}

Sampler::Sampler(const TextGenerationSpec& options, uint64_t seed, uint64_t turn)
    : options_(options), seed_(seed), turn_(turn) {}

int32_t Sampler::Next(std::span<float> logits, std::span<const int32_t> answer) {
  if (!std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); })) {
    throw Error(Code::Internal,
                "the decoder's logits are not finite; `g4v verify` tells whether the bundle is "
                "damaged, else "
                "export it again");
  }
  if (options_.repetition_penalty != 1.0) {
    std::vector<int32_t> seen(answer.begin(), answer.end());
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    const float penalty = static_cast<float>(options_.repetition_penalty);
    for (const int32_t id : seen) {
      float& logit = logits[static_cast<size_t>(id)];
      logit = logit > 0 ? logit / penalty : logit * penalty;
    }
  }
  if (options_.temperature == 0.0 || options_.top_k == 1) {
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  return Draw(logits, answer.size());
}

int32_t Sampler::Draw(std::span<const float> logits, uint64_t position) {
  candidates_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) candidates_[i] = {logits[i], static_cast<int32_t>(i)};
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  if (options_.top_k > 0 && static_cast<size_t>(options_.top_k) < candidates_.size()) {
    const auto end = candidates_.begin() + options_.top_k;
    std::nth_element(candidates_.begin(), end - 1, candidates_.end(), better);
    candidates_.erase(end, candidates_.end());
  }
  std::sort(candidates_.begin(), candidates_.end(), better);

  const double best = candidates_.front().logit;
  const auto weight = [&](const Candidate& candidate) {
    return std::exp((candidate.logit - best) / options_.temperature);
  };
  double total = 0.0;
  for (const Candidate& candidate : candidates_) total += weight(candidate);
  if (options_.top_p < 1.0) {
    double kept = 0.0;
    size_t count = 0;
    while (count < candidates_.size() && kept < options_.top_p * total) {
      kept += weight(candidates_[count++]);
    }
    candidates_.resize(std::max<size_t>(count, 1));
    total = kept;
  }
  // The top bit keeps these counters apart from those of a video with the same seed.
  const PhiloxBlock block = Philox4x32(seed_, position, turn_ | (uint64_t{1} << 63));
  double left = UniformOpenZero(block[0], block[1]) * total;
  for (const Candidate& candidate : candidates_) {
    left -= weight(candidate);
    if (left <= 0.0) return candidate.id;
  }
  return candidates_.back().id;
}

}  // namespace g4v
