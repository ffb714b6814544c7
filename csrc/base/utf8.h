// UTF-8: validation and encoding of single code points.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace g4v {

// True where the bytes are well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF).
bool IsValidUtf8(std::string_view text);

// Appends the UTF-8 form of a code point, which must be at most U+10FFFF and no surrogate.
void AppendUtf8(uint32_t code_point, std::string& out);

}  // namespace g4v
