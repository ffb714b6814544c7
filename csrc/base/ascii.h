// ASCII white space and case, whatever the locale.
#pragma once

#include <string_view>

namespace g4v {

constexpr std::string_view kWhite = " \t\n\r\f\v";

inline std::string_view StripLeadingWhite(std::string_view text) {
  const size_t first = text.find_first_not_of(kWhite);
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

inline std::string_view StripWhite(std::string_view text) {
  text = StripLeadingWhite(text);
  return text.substr(0, text.find_last_not_of(kWhite) + 1);
}

inline bool IsAlphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

inline char LowerAscii(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

}  // namespace g4v
