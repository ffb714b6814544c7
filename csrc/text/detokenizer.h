// Token ids back to text, whole and as a stream.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace g4v {

// How the strings of a vocabulary spell text.
enum class Spelling {
  kByteLevel,      // each character stands for a byte (GPT-2's table)
  kSentencePiece,  // U+2581 for a space; "<0x0A>" for a byte
};

class Detokenizer {
 public:
  // `strip_leading_space`: one space at the start of the text is the tokenizer's own.
  Detokenizer(const Vocabulary& vocabulary, Spelling spelling, bool strip_leading_space);

  // State of one text that is being decoded.
  struct Stream {
    std::string pending;        // bytes of a character that is not complete
    bool started = false;       // some text was returned
    bool space_is_due = false;  // a CLIP word ended; the space appears with the next one
  };

  std::string Decode(std::span<const int32_t> ids, bool skip_special) const;
  std::string Push(int32_t id, bool skip_special, Stream* stream) const;
  std::string Finish(Stream* stream) const;
  size_t vocab_size() const { return pieces_.size(); }
  // The bytes of one token; empty for an id that has none.
  std::string_view bytes(int32_t id) const {
    return id < 0 || static_cast<size_t>(id) >= pieces_.size()
               ? std::string_view()
               : std::string_view(pieces_[static_cast<size_t>(id)].text);
  }

 private:
  enum class Kind : uint8_t { kNone, kText, kByte };
  struct Piece {
    std::string text;
    Kind kind = Kind::kNone;
    bool special = false;
    bool ends_word = false;  // the text was followed by the word suffix
  };
  Piece MakePiece(const std::string& token, const std::string& word_suffix) const;
  std::string Started(std::string text, Stream* stream) const;

  std::vector<Piece> pieces_;
  Spelling spelling_;
  bool strip_leading_space_;
};

// GPT-2's table: the character that stands for a byte in a byte-level vocabulary.
char32_t ByteLevelChar(uint8_t byte);

// The spelling of a byte in a SentencePiece vocabulary: "<0x0A>".
std::string ByteFallbackToken(uint8_t byte);

}  // namespace g4v
