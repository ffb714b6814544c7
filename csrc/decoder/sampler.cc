#include "decoder/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/option.h"
#include "base/philox.h"

namespace g4v {
namespace {

using Candidate = Sampler::Candidate;

constexpr size_t kLanes = 16;  // independent results, so that the compiler uses vectors

// The largest logit; nothing where one is NaN or infinite.
std::optional<float> LargestOfFinite(std::span<const float> logits) {
  float most[kLanes];
  uint32_t finite[kLanes];
  std::fill(most, most + kLanes, logits[0]);
  std::fill(finite, finite + kLanes, 1u);
  const auto take = [&](size_t lane, float x) {
    finite[lane] &= std::fabs(x) <= std::numeric_limits<float>::max() ? 1u : 0u;
    most[lane] = most[lane] < x ? x : most[lane];
  };
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) take(lane, logits[i + lane]);
  }
  for (; i < logits.size(); ++i) take(0, logits[i]);
  if (std::count(finite, finite + kLanes, 1u) != std::ssize(finite)) return std::nullopt;
  return *std::max_element(most, most + kLanes);
}

// 2^x for x <= 0, to 3e-7; below 2^-126 it gives 2^-126. Of operations that any vector unit has.
float Exp2(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: added and taken off, it rounds to integers
  x = x > -126.0f ? x : -126.0f;
  const float n = (x + kRound) - kRound;
  const float f = (x - n) * 0.69314718f;
  // The Taylor series of e^f, |f| <= ln(2) / 2.
  const float p =
      1.0f +
      f * (1.0f +
           f * (1.0f / 2 + f * (1.0f / 6 + f * (1.0f / 24 + f * (1.0f / 120 + f * (1.0f / 720))))));
  return std::bit_cast<float>(std::bit_cast<int32_t>(p) + (static_cast<int32_t>(n) << 23));
}

// Of exp((logit - best) / temperature); terms have the precision of float32.
double SumOfWeights(std::span<const float> logits, float best, float temperature) {
  const float scale = 1.44269504f / temperature;  // exp(x) = 2^(x / ln 2)
  constexpr size_t kBlock = 1024;
  double total = 0.0;
  for (size_t start = 0; start < logits.size(); start += kBlock) {
    float sums[kLanes] = {};
    const size_t end = std::min(start + kBlock, logits.size());
    size_t i = start;
    for (; i + kLanes <= end; i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) {
        sums[lane] += Exp2((logits[i + lane] - best) * scale);
      }
    }
    for (; i < end; ++i) sums[0] += Exp2((logits[i] - best) * scale);
    for (const float sum : sums) total += sum;
  }
  return total;
}

// The logits with their ids, the largest first and equal ones by id, sorted band by band.
class RankedLogits {
 public:
  // memory: to work in.
  RankedLogits(std::span<const float> logits, float best, float temperature,
               std::vector<Candidate>& memory)
      : logits_(logits), next_(best), band_(std::max(8 * temperature, 1.0f)), ranked_(memory) {
    ranked_.clear();
  }

  // rank: below the number of logits.
  const Candidate& At(size_t rank) {
    while (rank >= ranked_.size()) AddBand();
    return ranked_[rank];
  }

 private:
  // Those from `next_` down to a band below it; each band is twice as wide.
  void AddBand() {
    const auto first = static_cast<std::ptrdiff_t>(ranked_.size());
    const float least = next_ - band_;
    for (size_t i = 0; i < logits_.size(); ++i) {
      if (logits_[i] <= next_ && logits_[i] > least) {
        ranked_.push_back({logits_[i], static_cast<int32_t>(i)});
      }
    }
    std::sort(ranked_.begin() + first, ranked_.end(), [](const Candidate& a, const Candidate& b) {
      return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
    });
    next_ = least;
    band_ *= 2;
  }

  std::span<const float> logits_;
  float next_;
  float band_;
  std::vector<Candidate>& ranked_;
};

}  // namespace

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
  const std::optional<float> best = LargestOfFinite(logits);
  if (!best) {
    throw Error(Code::Internal,
                "the decoder's logits are not finite; `g4v verify` tells whether the bundle is "
                "damaged, else "
                "export it again");
  }
  if (options_.temperature == 0.0 || options_.top_k == 1) {
    return static_cast<int32_t>(std::find(logits.begin(), logits.end(), *best) - logits.begin());
  }
  return Draw(logits, *best, answer.size());
}

// Candidates are sorted as far down as the draw needs them: of a vocabulary of 50,000 most never
// are.
int32_t Sampler::Draw(std::span<const float> logits, float best, uint64_t position) {
  RankedLogits ranked(logits, best, static_cast<float>(options_.temperature), candidates_);
  const auto weight = [&](size_t rank) {
    return std::exp((double{ranked.At(rank).logit} - best) / options_.temperature);
  };
  size_t count = logits.size();
  double total = 0.0;
  if (options_.top_k > 0 && static_cast<size_t>(options_.top_k) < count) {
    count = static_cast<size_t>(options_.top_k);
    for (size_t i = 0; i < count; ++i) total += weight(i);
  } else {
    total = SumOfWeights(logits, best, static_cast<float>(options_.temperature));
  }
  if (options_.top_p < 1.0) {
    double kept = 0.0;
    size_t enough = 0;
    while (enough < count && kept < options_.top_p * total) kept += weight(enough++);
    count = std::max<size_t>(enough, 1);
    total = kept;
  }
  // The top bit keeps these counters apart from those of a video with the same seed.
  const PhiloxBlock block = Philox4x32(seed_, position, turn_ | (uint64_t{1} << 63));
  double left = UniformOpenZero(block[0], block[1]) * total;
  for (size_t i = 0; i + 1 < count; ++i) {
    left -= weight(i);
    if (left <= 0.0) return ranked.At(i).id;
  }
  return ranked.At(count - 1).id;
}

}  // namespace g4v
