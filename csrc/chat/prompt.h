// The prompt template: python/g4v/model/prompt.py is the same thing for training and says why.
//
//   tokens = [bos] + enc(system)
//            then per turn: enc(video_prefix) + video tokens (where a video is attached)
//                           + enc(user_prefix + text + assistant_prefix) + answer + [turn_end]
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/manifest.h"
#include "text/tokenizer.h"

namespace g4v {

class PromptTemplate {
 public:
  // Both must outlive the template.
  PromptTemplate(const PromptSpec& spec, const Tokenizer& tokenizer)
      : spec_(spec), tokenizer_(tokenizer) {}

  const PromptSpec& spec() const { return spec_; }

  std::vector<int32_t> OpeningIds() const;      // [bos] + enc(system)
  std::vector<int32_t> VideoPrefixIds() const;  // before the video tokens
  // From the user's words to the answer. `clean_text` comes from CleanUserText below.
  std::vector<int32_t> QuestionIds(const std::string& clean_text) const;

 private:
  const PromptSpec& spec_;
  const Tokenizer& tokenizer_;
};

// Makes untrusted text safe to stand in the template: it can neither hold a video tag nor open a
// line of either speaker. Throws Error(InvalidArgument) where it is not UTF-8 or is empty.
std::string CleanUserText(const PromptSpec& spec, std::string_view text);

// Checks and strips a text that is no part of the template, such as a caption. `what` names it in
// the error.
std::string CleanText(std::string_view text, const std::string& what);

}  // namespace g4v
