// Logarithms of the probabilities of tokens, for those who ask a turn for them.
#pragma once

#include <span>
#include <vector>

#include "chat/event.h"

namespace g4v {

// log of the sum of exp(logits), in double precision.
double LogSumExp(std::span<const float> logits);

// The `count` likeliest tokens, or all where there are fewer; the lowest of equal ids first. `sum`:
// LogSumExp of the logits.
std::vector<TopToken> Likeliest(std::span<const float> logits, int count, double sum);

}  // namespace g4v
