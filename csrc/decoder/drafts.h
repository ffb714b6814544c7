// Drafts of the next tokens, looked up in the conversation itself (prompt lookup): what followed
// the last tokens when they stood there before. The decoder then computes all drafts in one step,
// and those are kept that it would have sampled anyway.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace g4v {

// Decides how many drafts are worth their work: a row more in a step is cheaper than a step, but not
// free. For one answer.
class DraftPolicy {
 public:
  explicit DraftPolicy(int most) : most_(most), next_(most) {}

  // How many drafts the next step is worth, 0 to the most.
  int Next();
  // Of `drafted` ones of a step, `accepted` were right.
  void Tell(int drafted, int accepted);

 private:
  int most_;
  int next_;
  int pause_ = 0;      // steps without drafts to come
  int pause_for_ = 8;  // steps, after the next failure
};

// At most `most` tokens that followed an earlier occurrence of the last 3 ids of `ids`, or else of
// the last 2; the latest occurrence counts. Negative ids are no tokens: they match nothing, and
// drafts end before them.
std::vector<int32_t> LookUpDrafts(std::span<const int32_t> ids, int most);

}  // namespace g4v
