#include "text/utf8_stream.h"

#include <cstdint>

namespace g4v {
namespace {

struct Sequence {
  size_t length;  // bytes that belong together, at least one
  enum { kWhole, kBroken, kUnfinished } state;
};

// The sequence at `i`: a character, the start of one that the text's end cuts off, or the longest
// start of one that another byte breaks off.
Sequence SequenceAt(const std::string& text, size_t i) {
  const auto lead = static_cast<uint8_t>(text[i]);
  if (lead < 0x80) return {1, Sequence::kWhole};
  if (lead < 0xC2 || lead > 0xF4) return {1, Sequence::kBroken};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  for (size_t k = 1; k < length; ++k) {
    if (i + k >= text.size()) return {k, Sequence::kUnfinished};
    const auto byte = static_cast<uint8_t>(text[i + k]);
    uint8_t low = 0x80, high = 0xBF;
    if (k == 1) {  // the second byte rules out overlong forms, surrogates and values above U+10FFFF
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    }
    if (byte < low || byte > high) return {k, Sequence::kBroken};
  }
  return {length, Sequence::kWhole};
}

}  // namespace

void MoveCharacters(std::string* pending, bool last, Replacement replacement, std::string* out) {
  size_t i = 0;
  while (i < pending->size()) {
    const Sequence sequence = SequenceAt(*pending, i);
    if (sequence.state == Sequence::kUnfinished && !last) break;
    if (sequence.state == Sequence::kWhole) {
      out->append(*pending, i, sequence.length);
    } else {
      const size_t count = replacement == Replacement::kPerByte ? sequence.length : 1;
      for (size_t k = 0; k < count; ++k) *out += "\xEF\xBF\xBD";
    }
    i += sequence.length;
  }
  pending->erase(0, i);
}

}  // namespace g4v
