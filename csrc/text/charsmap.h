// SentencePiece's precompiled_charsmap: which characters, or runs of them, a model writes otherwise.
//
// The bytes are <size of the trie, uint32><trie><replacements>, little-endian. The trie is a double
// array of darts-clone, units of 32 bits, whose values are places in the replacements, each of which
// ends with a zero byte: https://github.com/s-yata/darts-clone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace g4v {

class CharsMap {
 public:
  CharsMap() = default;  // changes nothing

  // Reads base64 text, which may be empty. Every place that a text can lead to in the trie is
  // checked. Throws Error(Code::Bundle).
  static CharsMap Read(const JsonCursor& base64);

  struct Match {
    size_t length = 0;  // bytes that are replaced; 0 = no rule
    std::string_view replacement;
  };

  // The longest rule that `text` begins with.
  Match Longest(std::string_view text) const;

 private:
  void CheckReplacements(const JsonCursor& where) const;
  void CheckTrie(const JsonCursor& where) const;

  std::vector<uint32_t> units_;  // the trie; a multiple of 256 units, or none
  std::string replacements_;     // ends with a zero byte
};

}  // namespace g4v
