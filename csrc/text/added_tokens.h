// Tokens that are found in a text before it is split into words, as Hugging Face's added tokens are.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/vocabulary.h"

namespace g4v {

struct AddedToken {
  std::u32string content;
  int32_t id = 0;
  bool special = false;     // never found, but hides what it overlaps
  bool normalized = false;  // sought in the normalised text, by its own normalised content
  bool strip_left = false;  // takes the white space before it along
  bool strip_right = false;
};

// The key "text_tokens" of a tokenizer file, which may be absent. The tokens of the vocabulary become
// what these decode to. Throws Error(Code::Bundle).
std::vector<AddedToken> ReadAddedTokens(const JsonCursor& file, Vocabulary* vocabulary);

// Finds tokens in a text from left to right, the longest where several start at one place.
class AddedTokenFinder {
 public:
  // A token or what stands between two; `text` is then not empty.
  struct Piece {
    std::optional<int32_t> id;
    std::u32string_view text;
    size_t start = 0;
  };

  void Add(std::u32string pattern, const AddedToken& token);
  bool empty() const { return patterns_.empty(); }
  std::vector<Piece> Split(std::u32string_view text) const;

 private:
  struct Pattern {
    std::u32string text;
    AddedToken token;
  };
  const Pattern* LongestAt(std::u32string_view text, size_t start) const;

  std::map<char32_t, std::vector<Pattern>> patterns_;  // by first character, longest first
};

}  // namespace g4v
