// Complete characters out of a growing byte string.
#pragma once

#include <string>

namespace g4v {

// What becomes of bytes that are no UTF-8.
enum class Replacement {
  kPerSequence,  // one U+FFFD for each maximal broken sequence (Unicode's and Rust's practice)
  kPerByte,      // one U+FFFD for each byte (SentencePiece's byte tokens)
};

// Moves the complete characters at the start of `pending` to `out` and replaces what is broken. An
// unfinished character at the end stays in `pending`, or counts as broken if `last`.
void MoveCharacters(std::string* pending, bool last, Replacement replacement, std::string* out);

}  // namespace g4v
