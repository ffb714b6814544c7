// Options with defaults and ranges: of text and video generation, and of loading.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>

#include "base/error.h"

namespace g4v {

// What an option may be. The C header and the Python docstrings state the same ranges; a test
// compares them with this table.
struct OptionRange {
  const char* name;
  int64_t least;
  int64_t most;
  bool above_least = false;  // the least value itself is not allowed
};

constexpr OptionRange kMaxNewTokens{"max_new_tokens", 1, 1 << 24};
constexpr OptionRange kTemperature{"temperature", 0, 100};
constexpr OptionRange kTopK{"top_k", 0, 1 << 24};
constexpr OptionRange kTopP{"top_p", 0, 1, true};
constexpr OptionRange kRepetitionPenalty{"repetition_penalty", 0, 10, true};
constexpr OptionRange kFrames{"frames", 1, 1024};
constexpr OptionRange kWidth{"width", 1, 4096};    // and a multiple of the VAE's scale factor
constexpr OptionRange kHeight{"height", 1, 4096};  // likewise
constexpr OptionRange kFps{"fps", 0, 1000, true};
constexpr OptionRange kGuidanceScale{"guidance_scale", 0, 100};
constexpr OptionRange kStrength{"strength", 0, 1, true};
constexpr OptionRange kPreviewEvery{"preview_every", 0, 1 << 20};  // 0 = no previews
constexpr OptionRange kThreads{"threads", 0, 1024};
constexpr OptionRange kTurns{"turns", 1, 1024};
constexpr OptionRange kSpin{"spin_us", 0, 1000000};
constexpr OptionRange kPromptLookup{"prompt_lookup", 0, 15};
constexpr OptionRange kLogprobs{"logprobs", 0, 20};
constexpr OptionRange kMaxPromptTokens{"max_prompt_tokens", 0, 1 << 24};  // 0 = no limit
constexpr OptionRange kMaxTurnMs{"max_turn_ms", 0, 1 << 30};              // likewise
constexpr OptionRange kMaxVideos{"max_videos", 0, 1 << 24};               // likewise

inline constexpr std::array kOptionRanges = {
    kMaxNewTokens, kTemperature, kTopK, kTopP,          kRepetitionPenalty, kFrames,
    kWidth,        kHeight,      kFps,  kGuidanceScale, kStrength,          kPreviewEvery,
    kThreads,      kTurns,       kSpin, kPromptLookup,  kLogprobs,          kMaxPromptTokens,
    kMaxTurnMs,    kMaxVideos};

// What one of a few words may be, for messages: "a", "b" or "c", each between quotes.
inline std::string OneOf(std::span<const std::string_view> words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
    text += '"' + std::string(words[i]) + '"';
  }
  return text;
}

template <class T>
void Overlay(const std::optional<T>& option, T& value) {
  if (option) value = *option;
}

// Throws Error(InvalidArgument) "<name> is <value> but must be <least> to <most>". NaN is never in
// range.
template <class T>
void CheckRange(const OptionRange& range, T value) {
  const auto least = static_cast<T>(range.least);
  const bool enough = range.above_least ? value > least : value >= least;
  if (enough && value <= static_cast<T>(range.most)) return;
  std::ostringstream message;
  message << range.name << " is " << value << " but must be ";
  if (range.above_least) message << "above ";
  message << range.least << (range.above_least ? " and at most " : " to ") << range.most;
  throw Error(Code::InvalidArgument, message.str());
}

}  // namespace g4v
