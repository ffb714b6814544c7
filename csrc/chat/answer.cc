#include "chat/answer.h"

#include <algorithm>
#include <utility>

#include "base/ascii.h"

namespace g4v {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, std::string());
}

std::string StopMatcher::Push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  size_t end = held_.size();
  size_t complete = std::string::npos;  // where the one that counts ends
  for (const std::string& stop : stops_) {
    const size_t found = held_.find(stop);
    if (found == std::string::npos) continue;
    stopped_ = true;
    const size_t last = found + stop.size();
    if (last < complete || (last == complete && found < end)) {
      complete = last;
      end = found;
    }
  }
  if (!stopped_) {
    // The longest tail that begins some stop string stays.
    for (size_t start = 0; start < held_.size() && end == held_.size(); ++start) {
      const std::string_view tail = std::string_view(held_).substr(start);
      for (const std::string& stop : stops_) {
        if (std::string_view(stop).starts_with(tail)) end = std::min(end, start);
      }
    }
  }
  std::string released = held_.substr(0, end);
  held_.erase(0, end);
  released_ += released.size();
  return released;
}

std::string StopMatcher::Finish() {
  if (stopped_) return {};
  released_ += held_.size();
  return std::exchange(held_, {});
}

Answer::Answer(const PromptSpec& prompt, const Tokenizer& tokenizer, std::vector<std::string> stops)
    : refusal_openings_(prompt.refusal_openings),
      decoder_(tokenizer),
      stop_(std::move(stops)),
      tags_(prompt.video_open, prompt.video_close) {
  std::erase(refusal_openings_, std::string());
}

std::vector<AnswerPiece> Answer::Push(int32_t id) {
  const std::string raw = decoder_.Push(id);
  decoded_ += raw.size();
  token_ends_.push_back(decoded_);
  return Take(stop_.Push(raw));
}

std::vector<AnswerPiece> Answer::Finish() {
  std::vector<AnswerPiece> out;
  if (!stop_.stopped()) {
    std::string rest = stop_.Push(decoder_.Finish());
    if (!stop_.stopped()) rest += stop_.Finish();
    out = Take(rest);
  }
  TagParser::End end = tags_.Finish();
  unclosed_ = end.unclosed;
  Add(std::move(end.pieces), out);
  Decide(true);
  Add({}, out);
  return out;
}

int Answer::tokens_before_stop() const {
  const auto after = std::upper_bound(token_ends_.begin(), token_ends_.end(), stop_.released());
  return static_cast<int>(after - token_ends_.begin());
}

std::vector<AnswerPiece> Answer::Take(std::string_view raw) {
  std::vector<AnswerPiece> out;
  if (leading_) {
    raw = StripLeadingWhite(raw);
    leading_ = raw.empty();
  }
  if (!raw.empty()) Add(tags_.Push(raw), out);
  return out;
}

// Text waits while it could be the opening of a refusal; a caption ends the waiting.
void Answer::Add(std::vector<AnswerPiece> pieces, std::vector<AnswerPiece>& out) {
  const auto release = [&] {
    if (refusal_ == Refusal::Undecided || held_.empty()) return;
    out.push_back({false, std::exchange(held_, {})});
  };
  for (AnswerPiece& piece : pieces) {
    if (piece.is_caption) {
      Decide(true);
      release();
      if (refusal_ != Refusal::Yes) out.push_back({true, std::move(piece.text)});
    } else {
      held_ += piece.text;
      text_ += piece.text;
      Decide(false);
      release();
    }
  }
  release();
}

void Answer::Decide(bool at_end) {
  if (refusal_ != Refusal::Undecided) return;
  bool possible = false;
  for (const std::string& opening : refusal_openings_) {
    if (text_.starts_with(opening)) {
      refusal_ = Refusal::Yes;
      return;
    }
    possible = possible || opening.starts_with(text_);
  }
  if (at_end || !possible) refusal_ = Refusal::No;
}

}  // namespace g4v
