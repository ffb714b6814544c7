// The prompt template: python/g4v/model/prompt.py is the same thing for training and says why.
//
//   tokens = [bos] + enc(system_prefix + system)
//            then per turn: enc(lead + video_prefix) + video tokens + enc(video_suffix + text
//                           + assistant_prefix), or without a video enc(lead + user_prefix + text
//                           + assistant_prefix), + answer + [turn_end]
//
// where the answer is the tokens that were sampled, or of one that was not generated here
// enc(answer_prefix + answer + answer_suffix),
//
// Where the template has a frame_prefix, the video tokens are those of one frame after the other, and
//
//   enc(lead + video_prefix + frame_prefix) + tokens + enc(frame_suffix + frame_prefix) + tokens + ...
//   + enc(frame_suffix + video_suffix + text + assistant_prefix)
//
// with these names replaced: "{frame_count}" by the number of frames in English words, "{duration}" by
// the video's as H:MM:SS, both in video_prefix, and "{timestamp}" in frame_prefix by the frame's time as
// MM:SS. In both texts "{" and "}" stand for nothing else.
//
// where `lead` is system_suffix in the first turn and turn_separator in the others. Without a system
// text, nothing but bos stands before the first turn, whose lead is then no_system. In the texts of
// the template special tokens are recognised, in the system text and the user's words never.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/manifest.h"
#include "text/tokenizer.h"
#include "video/frames.h"

namespace g4v {

class PromptTemplate {
 public:
  // Both must outlive the template. Throws Error(Bundle) where a special token of the template is
  // none of the tokenizer, or has another id there.
  PromptTemplate(const PromptSpec& spec, const Tokenizer& tokenizer);

  const PromptSpec& spec() const { return spec_; }

  // What stands before the first turn. `system` is plain text.
  std::vector<int32_t> OpeningIds(const std::string& system) const;

  // What stands before an answer.
  struct TurnIds {
    std::vector<int32_t> before_video;  // empty without a video
    // Between the tokens of two frames; empty without a frame_prefix.
    std::vector<std::vector<int32_t>> between_frames;
    std::vector<int32_t> after_video;
  };
  // The first turn, after an opening of OpeningIds(system). `clean_text` comes from CleanUserText.
  // video: null without one; its times are read where there is a frame_prefix, and are one or more then.
  TurnIds FirstTurn(const std::string& system, const std::string& clean_text,
                    const FrameTimes* video) const;
  // A turn that follows an answer.
  TurnIds LaterTurn(const std::string& clean_text, const FrameTimes* video) const;

  // An answer that was not generated here, and its end. `answer` is plain text.
  std::vector<int32_t> AnswerIds(const std::string& answer) const;
  // What closes an answer that the model did not end itself.
  std::vector<int32_t> AnswerEndIds() const;
  bool EndsAnswer(int32_t token) const;

 private:
  // A part of a segment; special tokens are recognised only where it is the template's own.
  struct Part {
    std::string_view text;
    bool own = true;
  };
  // `starts_text`: the first characters get the dummy space of a tokenizer that has one.
  std::vector<int32_t> Encode(std::span<const Part> parts, bool starts_text) const;
  TurnIds Turn(const std::string& lead, const std::string& clean_text, const FrameTimes* video,
               bool starts_text) const;

  const PromptSpec& spec_;
  const Tokenizer& tokenizer_;
};

// Makes untrusted text safe to stand in the template: it can neither hold a video tag nor a label of
// either speaker. Throws Error(InvalidArgument) where it is not UTF-8 or is empty.
std::string CleanUserText(const PromptSpec& spec, std::string_view text);

// Checks and strips a text that is no part of the template, such as a caption. `what` names it in
// the error.
std::string CleanText(std::string_view text, const std::string& what);

}  // namespace g4v
