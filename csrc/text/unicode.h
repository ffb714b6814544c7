// Code points: classes, normal form C, lower case, all as Hugging Face tokenizers has them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace g4v {

enum CharClass : uint8_t {
  kLetter = 1,      // \p{L}
  kNumber = 2,      // \p{N}
  kSpace = 4,       // \s
  kDigitSplit = 8,  // split off by the Digits pre-tokenizer, which knows a newer Unicode
};

// Class bits of a code point.
uint8_t ClassOf(char32_t c);

// Code points of UTF-8 text; throws Error(Code::InvalidArgument) where it is not well-formed.
std::u32string DecodeUtf8(std::string_view utf8);

// Code points of UTF-8 text that is known to be well-formed.
std::u32string DecodeValidUtf8(std::string_view utf8);

// Unicode normalisation form C.
std::u32string NormalizeNfc(std::u32string_view text);

// Lower case, one code point at a time (no final sigma, no locale).
std::u32string Lowercase(std::u32string_view text);

}  // namespace g4v
