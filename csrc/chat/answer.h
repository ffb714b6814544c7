// From sampled tokens to events: text, stop strings, tags and refusals of one answer, as it
// streams.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bundle/manifest.h"
#include "chat/tag_parser.h"
#include "text/tokenizer.h"

namespace g4v {

// Finds stop strings in a stream of text and holds back what could become one. Of several the one
// that is complete first counts, of those that end together the longest: how the text is cut into
// pieces does not matter.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);

  // Text that belongs to the answer for certain. After a stop string it returns nothing any more.
  std::string Push(std::string_view text);
  std::string Finish();  // what was held back

  bool stopped() const { return stopped_; }
  size_t released() const { return released_; }  // bytes returned so far

 private:
  std::vector<std::string> stops_;
  std::string held_;
  size_t released_ = 0;
  bool stopped_ = false;
};

class Answer {
 public:
  // stops: texts that end the answer.
  Answer(const PromptSpec& prompt, const Tokenizer& tokenizer, std::vector<std::string> stops);

  // Takes a token that does not end the turn.
  std::vector<AnswerPiece> Push(int32_t id);
  // The end of the answer.
  std::vector<AnswerPiece> Finish();

  bool stopped() const { return stop_.stopped(); }
  // How many of the pushed tokens precede the stop string.
  int tokens_before_stop() const;
  bool refused() const { return refusal_ == Refusal::Yes; }
  bool unclosed_caption() const { return unclosed_; }
  const std::string& text() const { return text_; }  // everything that is no caption

 private:
  enum class Refusal { Undecided, Yes, No };

  std::vector<AnswerPiece> Take(std::string_view raw);
  void Add(std::vector<AnswerPiece> pieces, std::vector<AnswerPiece>& out);
  void Decide(bool at_end);

  std::vector<std::string> refusal_openings_;
  StreamDecoder decoder_;
  StopMatcher stop_;
  TagParser tags_;
  std::vector<size_t> token_ends_;  // bytes of decoded text after each token
  size_t decoded_ = 0;
  bool leading_ = true;  // nothing but white space so far
  Refusal refusal_ = Refusal::Undecided;
  std::string held_;  // text that could still be the opening of a refusal
  std::string text_;
  bool unclosed_ = false;
};

}  // namespace g4v
