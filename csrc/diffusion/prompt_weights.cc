#include "diffusion/prompt_weights.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

#include "base/ascii.h"
#include "base/error.h"

namespace g4v {
namespace {

constexpr double kMostWeight = 10.0;
constexpr size_t kMostDepth = 16;       // of brackets
constexpr size_t kMostLowWeights = 16;  // parts below 1: the text encoder runs once for each
constexpr std::string_view kEndsWord = " \t\n\v\f\r(),.;:!?\"";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsIn(std::string_view set, char c) { return set.find(c) != std::string_view::npos; }

class WeightParser {
 public:
  WeightParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  WeightedText Parse() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '(') {
        Open();
      } else if (c == ')') {
        Close();
      } else if (IsIn(kEndsWord, c)) {
        Add(text_.substr(at_++, 1), 1.0);
      } else {
        Word();
      }
    }
    if (!open_.empty()) Refuse("has a ( that nothing closes; write \\( for a bracket that is text");
    return Finish();
  }

 private:
  // A piece as it is read, within brackets whose weights may come later.
  struct Piece {
    std::string text;
    double weight;
  };

  [[noreturn]] void Refuse(const std::string& what) const {
    throw Error(Code::InvalidArgument, name_ + " " + what + ", or leave prompt_weighting out");
  }

  void Add(std::string_view text, double weight) { pieces_.push_back({std::string(text), weight}); }

  void Open() {
    if (at_ > 0 && !IsIn(kEndsWord, text_[at_ - 1])) RefuseInWord();
    if (open_.size() == kMostDepth) {
      Refuse("has brackets more than " + std::to_string(kMostDepth) + " deep; write fewer");
    }
    open_.push_back(pieces_.size());
    ++at_;
  }

  [[noreturn]] void RefuseInWord() const {
    constexpr std::array<std::string_view, 5> kOthers = {".blend", ".and", ".add", ".swap",
                                                         ".attend"};
    for (const std::string_view other : kOthers) {
      if (!text_.substr(0, at_).ends_with(other)) continue;
      Refuse("has " + std::string(other) +
             "(...), and weights alone are known; write \\( for a "
             "bracket that is text");
    }
    Refuse(
        "has a ( within a word; put white space before it, or write \\( for a bracket that is "
        "text");
  }

  void Close() {
    if (open_.empty()) Refuse("has a ) that nothing opens; write \\) for a bracket that is text");
    const size_t first = open_.back();
    open_.pop_back();
    if (std::all_of(pieces_.begin() + static_cast<ptrdiff_t>(first), pieces_.end(),
                    [](const Piece& piece) { return StripWhite(piece.text).empty(); })) {
      Refuse("has brackets without words; take them away");
    }
    RefuseColon(first);
    ++at_;
    const double weight = Weight();
    for (size_t i = first; i < pieces_.size(); ++i) pieces_[i].weight *= weight;
  }

  // What may stand behind a bracket: signs, a number, or nothing.
  double Weight() {
    const char next = at_ < text_.size() ? text_[at_] : ' ';
    if (next == '+' || next == '-') {
      const double weight = Signs();
      CheckEnd("signs");
      return weight;
    }
    const char after = at_ + 1 < text_.size() ? text_[at_ + 1] : ' ';
    if (!IsDigit(next) && !(next == '.' && IsDigit(after))) {
      CheckEnd("a bracket that closes");
      return 1.0;
    }
    const size_t start = at_;
    while (at_ < text_.size() && IsDigit(text_[at_])) ++at_;
    if (at_ + 1 < text_.size() && text_[at_] == '.' && IsDigit(text_[at_ + 1])) {
      ++at_;
      while (at_ < text_.size() && IsDigit(text_[at_])) ++at_;
    }
    double weight = 0.0;
    const auto read = std::from_chars(text_.data() + start, text_.data() + at_, weight);
    if (read.ec != std::errc() || read.ptr != text_.data() + at_) weight = kMostWeight + 1;
    CheckEnd("a weight");
    return Checked(weight);
  }

  // The weight of a run of signs, all + or all -.
  double Signs() {
    const char sign = text_[at_];
    size_t count = 0;
    while (at_ < text_.size() && text_[at_] == sign) {
      ++at_;
      ++count;
    }
    return Checked(std::pow(sign == '+' ? 1.1 : 0.9, static_cast<double>(count)));
  }

  double Checked(double weight) const {
    if (weight <= kMostWeight) return weight;
    Refuse("has a weight above 10; weights are 0 to 10");
  }

  void CheckEnd(const std::string& what) const {
    if (at_ == text_.size() || IsIn(kEndsWord, text_[at_])) return;
    Refuse("has text right behind " + what +
           "; a weight is + or - signs or a number from 0 to 10, and white space follows it");
  }

  // (words:1.3), as other programs write it.
  void RefuseColon(size_t first) const {
    std::string inside;
    for (size_t i = first; i < pieces_.size(); ++i) inside += pieces_[i].text;
    const size_t colon = inside.rfind(':');
    if (colon == std::string::npos) return;
    const std::string number(StripWhite(std::string_view(inside).substr(colon + 1)));
    const bool numeric = !number.empty() && std::all_of(number.begin(), number.end(), [](char c) {
      return IsDigit(c) || c == '.' || c == '-' || c == '+';
    });
    if (numeric) Refuse("has a weight within brackets; write (words)1.3 for (words:1.3)");
  }

  // Characters up to what ends a word; signs at its end are its weight.
  void Word() {
    if (at_ > 0 && text_[at_ - 1] == '"' && (text_[at_] == '+' || text_[at_] == '-')) {
      Refuse("has signs right behind a quotation mark; write (some words)++ for \"some words\"++");
    }
    std::string word;
    size_t signs = 0;  // plain ones at the end
    while (at_ < text_.size() && !IsIn(kEndsWord, text_[at_])) {
      char c = text_[at_++];
      const bool escaped = c == '\\' && at_ < text_.size() && IsIn("()+-\\", text_[at_]);
      if (escaped) c = text_[at_++];
      word += c;
      signs = !escaped && (c == '+' || c == '-') ? signs + 1 : 0;
    }
    if (signs == 0 || signs == word.size()) return Add(word, 1.0);
    const std::string_view end = std::string_view(word).substr(word.size() - signs);
    if (end.find_first_not_of(end.front()) != std::string_view::npos) {
      Refuse("has + and - signs behind one word; write one of them, or \\+ and \\- for text");
    }
    const double weight =
        Checked(std::pow(end.front() == '+' ? 1.1 : 0.9, static_cast<double>(signs)));
    word.resize(word.size() - signs);
    Add(word, weight);
  }

  // Pieces of one weight as one part; white space between two belongs to neither.
  WeightedText Finish() const {
    WeightedText parts;
    std::string white;
    for (const Piece& piece : pieces_) {
      if (StripWhite(piece.text).empty()) {
        white += piece.text;
        continue;
      }
      Checked(piece.weight);
      if (!parts.empty() && parts.back().weight == piece.weight) {
        parts.back().text += white + piece.text;
      } else {
        parts.push_back({piece.text, piece.weight});
      }
      white.clear();
    }
    const auto low = std::count_if(parts.begin(), parts.end(),
                                   [](const WeightedPart& part) { return part.weight < 1.0; });
    if (static_cast<size_t>(low) > kMostLowWeights) {
      Refuse("has more than " + std::to_string(kMostLowWeights) +
             " parts with weights below 1; write fewer");
    }
    return parts;
  }

  std::string_view text_;
  const std::string& name_;
  size_t at_ = 0;
  std::vector<size_t> open_;  // for each bracket that is open: pieces before it
  std::vector<Piece> pieces_;
};

}  // namespace

WeightedText ParsePromptWeights(const std::string& text, const std::string& name) {
  return WeightParser(text, name).Parse();
}

}  // namespace g4v
