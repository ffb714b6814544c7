// Splits text into the words that byte-pair merges never cross: hand-written matchers for the
// regular expressions of the known tokenizers (each is quoted in pre_tokenizer.cc).
#pragma once

#include <functional>
#include <optional>
#include <string_view>

namespace g4v {

enum class PreTokenizer {
  kNone,         // the whole text is one word
  kGpt2,         // letters, numbers, others and spaces, each with one leading space
  kSmolLm2,      // every digit apart, then as GPT-2
  kLlama3,       // numbers in threes, line ends apart
  kQwen2,        // as Llama 3, numbers one by one
  kClip,         // spaces removed, numbers one by one
  kClipSpecial,  // as CLIP, with "<|startoftext|>" and "<|endoftext|>" as words (not as tokens)
};

// The pre-tokenizer of a name in a tokenizer file ("gpt2", "smollm2", ...), or nothing.
std::optional<PreTokenizer> FindPreTokenizer(std::string_view name);

// Calls `emit` with each word, from left to right.
void SplitWords(PreTokenizer kind, std::u32string_view text,
                const std::function<void(std::u32string_view)>& emit);

}  // namespace g4v
