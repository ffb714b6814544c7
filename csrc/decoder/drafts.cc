#include "decoder/drafts.h"

#include <algorithm>

namespace g4v {
namespace {

constexpr int kLongestPause = 64;

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

int DraftPolicy::Next() {
  if (pause_ == 0) return next_;
  --pause_;
  return 0;
}

void DraftPolicy::Tell(int drafted, int accepted) {
  if (drafted == 0) return;
  if (accepted == drafted) {
    next_ = std::min(next_ + 1, most_);
    pause_for_ = 8;
  } else if (accepted == 0) {
    next_ = 1;
    pause_ = pause_for_;
    pause_for_ = std::min(2 * pause_for_, kLongestPause);
  } else {
    next_ = std::max(accepted, 1);
  }
}

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
