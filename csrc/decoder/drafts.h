// Drafts of the next tokens, looked up in the conversation itself (prompt lookup): what followed
// the last tokens when they stood there before. The decoder then computes all drafts in one step,
// and those are kept that it would have sampled anyway.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace g4v {

// What a step of one conversation takes, by its rows: learnt from steps, guessed before. For one
// thread.
class StepCosts {
 public:
  void Tell(size_t rows, double seconds);
  // In steps of one row.
  double Relative(size_t rows) const;

 private:
  static constexpr size_t kMost = 16;
  std::array<double, kMost + 1> seconds_{};  // by rows; 0: not known
};

// Decides how many drafts are worth their work: a row more in a step is cheaper than a step, but not
// free, and how much it costs differs between processors. For one answer.
class DraftPolicy {
 public:
  // The number of drafts that makes most tokens in a time, at most `most`.
  int Best(int most, const StepCosts& costs) const;
  // Whether a draft was right, of which all before it in the step were; also one that was looked up
  // and not put to the decoder.
  void Tell(bool right);

 private:
  double right_ = 0.3;  // how often drafts are, of late
};

// At most `most` tokens that followed an earlier occurrence of the last 3 ids of `ids`, or else of
// the last 2; the latest occurrence counts. Negative ids are no tokens: they match nothing, and
// drafts end before them.
std::vector<int32_t> LookUpDrafts(std::span<const int32_t> ids, int most);

}  // namespace g4v
