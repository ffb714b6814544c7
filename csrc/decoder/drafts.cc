#include "decoder/drafts.h"

#include <algorithm>

namespace g4v {
namespace {

constexpr double kNews = 1.0 / 8;        // weight of the latest observation
constexpr double kGuessOfRow = 1.0 / 5;  // of a step, before steps of so many rows were seen

// Where the latest earlier occurrence of the last `size` ids ends; 0 where there is none.
size_t EndOfEarlier(std::span<const int32_t> ids, size_t size) {
  if (ids.size() <= size) return 0;
  const auto last = ids.last(size);
  if (std::any_of(last.begin(), last.end(), [](int32_t id) { return id < 0; })) return 0;
  for (size_t end = ids.size() - 1; end >= size; --end) {
    if (std::equal(last.rbegin(), last.rend(), ids.first(end).rbegin())) return end;
  }
  return 0;
}

}  // namespace

void StepCosts::Tell(size_t rows, double seconds) {
  if (rows == 0 || rows > kMost) return;
  double& known = seconds_[rows];
  known = known == 0 ? seconds : known + kNews * (seconds - known);
}

double StepCosts::Relative(size_t rows) const {
  const double guess = 1 + kGuessOfRow * static_cast<double>(rows - 1);
  if (rows > kMost || seconds_[1] == 0 || seconds_[rows] == 0) return guess;
  return seconds_[rows] / seconds_[1];
}

int DraftPolicy::Best(int most, const StepCosts& costs) const {
  int best = 0;
  double best_rate = 1;
  double tokens = 1;
  double all_right = 1;
  for (int drafts = 1; drafts <= most; ++drafts) {
    all_right *= right_;
    tokens += all_right;
    const double rate = tokens / costs.Relative(static_cast<size_t>(drafts) + 1);
    if (rate > best_rate) {
      best = drafts;
      best_rate = rate;
    }
  }
  return best;
}

void DraftPolicy::Tell(bool right) { right_ += kNews * ((right ? 1.0 : 0.0) - right_); }

std::vector<int32_t> LookUpDrafts(std::span<const int32_t> ids, int most) {
  if (most <= 0) return {};
  size_t end = EndOfEarlier(ids, 3);
  if (end == 0) end = EndOfEarlier(ids, 2);
  if (end == 0) return {};
  const auto rest = ids.subspan(end);
  const auto stop = std::find_if(rest.begin(), rest.end(), [](int32_t id) { return id < 0; });
  const auto count = std::min<std::ptrdiff_t>(stop - rest.begin(), most);
  return {rest.begin(), rest.begin() + count};
}

}  // namespace g4v
