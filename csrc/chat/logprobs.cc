#include "chat/logprobs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace g4v {

double LogSumExp(std::span<const float> logits) {
  const double best = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - best);
  return best + std::log(sum);
}

std::vector<TopToken> Likeliest(std::span<const float> logits, int count, double sum) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto end = ids.begin() + std::min<std::ptrdiff_t>(count, std::ssize(ids));
  const auto at = [&](int32_t id) { return logits[static_cast<size_t>(id)]; };
  std::partial_sort(ids.begin(), end, ids.end(),
                    [&](int32_t a, int32_t b) { return at(a) != at(b) ? at(a) > at(b) : a < b; });
  std::vector<TopToken> top;
  for (auto id = ids.begin(); id != end; ++id) top.push_back({*id, at(*id) - sum});
  return top;
}

}  // namespace g4v
