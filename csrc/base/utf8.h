// UTF-8: validation and encoding of single code points.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace g4v {

// True where the bytes are well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF).
bool IsValidUtf8(std::string_view text);

// Throws Error(InvalidArgument) "<what> is not valid UTF-8 text".
void CheckUtf8(std::string_view text, const std::string& what);

// Bytes of the well-formed code point that starts at text[start], and the code point; 0 where no such
// one starts there.
size_t ReadUtf8(std::string_view text, size_t start, uint32_t* code_point);

// The text as one line that a terminal shows as it is: white space becomes blanks; other control
// characters, marks of direction, and bytes that are no UTF-8 become escapes such as \x1b.
std::string Printable(std::string_view text);

// Appends the UTF-8 form of a code point, which must be at most U+10FFFF and no surrogate.
void AppendUtf8(uint32_t code_point, std::string& out);

}  // namespace g4v
