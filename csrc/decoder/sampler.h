// From logits to the next token.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "bundle/manifest.h"

namespace g4v {

// An empty field means the bundle's default; a value out of its range is Error(InvalidArgument)
// that names the option and the range.
struct TextOptions {
  std::optional<int> max_new_tokens;         // 1 ..
  std::optional<double> temperature;         // 0 .. 100; 0 = greedy
  std::optional<int> top_k;                  // 0 ..; 0 = off
  std::optional<double> top_p;               // 0 < .. 1; 1 = off
  std::optional<double> repetition_penalty;  // 0 < .. 10; 1 = off; of this answer's tokens
};

// The bundle's defaults with the set fields of `first`, then of `second` over them.
TextGenerationSpec ResolveTextOptions(const TextGenerationSpec& defaults, const TextOptions& first,
                                      const TextOptions& second);

// Penalty, temperature, top-k and top-p in that order, as Hugging Face's logits processors. Greedy
// takes the lowest of equal ids. Random choices depend on (seed, turn, position) alone.
class Sampler {
 public:
  Sampler(const TextGenerationSpec& options, uint64_t seed, uint64_t turn);

  // The next token of an answer that consists of `answer` so far. `logits` [vocab_size] is changed.
  // Throws Error(Internal) where it holds a NaN or infinity.
  int32_t Next(std::span<float> logits, std::span<const int32_t> answer);

  struct Candidate {
    float logit;
    int32_t id;
  };

 private:
  int32_t Draw(std::span<const float> logits, float best, uint64_t position);

  TextGenerationSpec options_;
  uint64_t seed_;
  uint64_t turn_;
  std::vector<Candidate> candidates_;
};

}  // namespace g4v
