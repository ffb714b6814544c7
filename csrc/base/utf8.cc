#include "base/utf8.h"

#include <cstdio>

#include "base/error.h"

namespace g4v {
namespace {

// Characters that can make a terminal show something else than the text.
bool IsControl(uint32_t code_point) {
  return code_point < 0x20 || (code_point >= 0x7F && code_point < 0xA0) ||
         (code_point >= 0x200E && code_point <= 0x200F) ||  // marks of direction, here and below
         (code_point >= 0x2028 && code_point <= 0x202E) ||
         (code_point >= 0x2066 && code_point <= 0x2069);
}

void AppendEscape(uint32_t code, std::string& out) {
  char escaped[8];
  std::snprintf(escaped, sizeof escaped, code < 0x100 ? "\\x%02x" : "\\u%04x", code);
  out += escaped;
}

}  // namespace

size_t ReadUtf8(std::string_view text, size_t start, uint32_t* code_point) {
  const auto lead = static_cast<unsigned char>(text[start]);
  *code_point = lead;
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || start + length > text.size()) return 0;
  *code_point = lead & (0xFFu >> (length + 1));
  for (size_t k = 1; k < length; ++k) {
    const auto next = static_cast<unsigned char>(text[start + k]);
    if ((next & 0xC0) != 0x80) return 0;
    *code_point = (*code_point << 6) | (next & 0x3Fu);
  }
  const bool overlong =
      (length == 3 && *code_point < 0x800) || (length == 4 && *code_point < 0x10000);
  const bool surrogate = *code_point >= 0xD800 && *code_point <= 0xDFFF;
  return overlong || surrogate || *code_point > 0x10FFFF ? 0 : length;
}

bool IsValidUtf8(std::string_view text) {
  uint32_t code_point = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t length = ReadUtf8(text, i, &code_point);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

void CheckUtf8(std::string_view text, const std::string& what) {
  if (!IsValidUtf8(text)) throw Error(Code::InvalidArgument, what + " is not valid UTF-8 text");
}

std::string Printable(std::string_view text) {
  std::string out;
  uint32_t code_point = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t length = ReadUtf8(text, i, &code_point);
    const auto byte = static_cast<unsigned char>(text[i]);
    if (length == 0) {
      AppendEscape(byte, out);
    } else if (code_point >= '\t' && code_point <= '\r') {
      out += ' ';
    } else if (IsControl(code_point)) {
      AppendEscape(code_point, out);
    } else {
      out += text.substr(i, length);
    }
    i += length == 0 ? 1 : length;
  }
  return out;
}

void AppendUtf8(uint32_t code_point, std::string& out) {
  const auto push = [&out](uint32_t byte) { out += static_cast<char>(byte); };
  if (code_point < 0x80) {
    push(code_point);
  } else if (code_point < 0x800) {
    push(0xC0 | (code_point >> 6));
    push(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    push(0xE0 | (code_point >> 12));
    push(0x80 | ((code_point >> 6) & 0x3F));
    push(0x80 | (code_point & 0x3F));
  } else {
    push(0xF0 | (code_point >> 18));
    push(0x80 | ((code_point >> 12) & 0x3F));
    push(0x80 | ((code_point >> 6) & 0x3F));
    push(0x80 | (code_point & 0x3F));
  }
}

}  // namespace g4v
