// What every tokenizer file holds, checked: tokens, merges, special tokens, the unknown token.
// The writer is export/components/tokenizer.py, which describes the format.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "text/bpe.h"

namespace g4v {

// Where a space goes before the text.
enum class PrefixSpace { kNever, kAlways, kUnlessPresent };

struct Vocabulary {
  std::vector<std::optional<std::string>> tokens;    // by id; nothing where an id has no token
  std::unordered_map<std::string, int32_t> ids;      // of the model's tokens, without added ones
  std::unordered_map<std::string, int32_t> special;  // special tokens, a part of `tokens`
  std::vector<bool> is_special;                      // by id
  MergeTable merges;
  std::optional<int32_t> unknown;
  bool fuse_unknown = false;
  bool ignore_merges = false;  // a word that is a token is taken whole
  PrefixSpace prefix_space = PrefixSpace::kNever;
  std::string word_suffix;  // of the last symbol of a word: "</w>" for CLIP, else empty

  // The id of a model's token, or nothing.
  std::optional<int32_t> Find(const std::string& token) const;

  // Reads the tokens of a tokenizer file, special and unknown ones among them. Throws
  // Error(Code::Bundle).
  static Vocabulary ReadTokens(const JsonCursor& file);

  // Reads the keys that files with merges share. Merges that give a special token are left out: no
  // text may turn into one. Throws Error(Code::Bundle).
  static Vocabulary Read(const JsonCursor& file, std::string word_suffix);
};

}  // namespace g4v
