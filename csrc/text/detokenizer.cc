#include "text/detokenizer.h"

#include <array>
#include <optional>
#include <utility>

#include "base/process.h"
#include "base/utf8.h"
#include "text/unicode.h"
#include "text/utf8_stream.h"

namespace g4v {
namespace {

constexpr std::string_view kSentencePieceSpace = "\u2581";

std::array<char32_t, 256> MakeByteLevelChars() {
  std::array<char32_t, 256> chars{};
  char32_t next = 256;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    chars[byte] = printable ? byte : next++;
  }
  return chars;
}

// The bytes that a byte-level token spells; one with a character outside the table stands as is.
std::string ByteLevelBytes(const std::string& token) {
  const auto& bytes = MadeOnce([] {
    std::unordered_map<char32_t, char> map;
    for (int byte = 0; byte < 256; ++byte) {
      map.emplace(ByteLevelChar(static_cast<uint8_t>(byte)), static_cast<char>(byte));
    }
    return map;
  });
  std::string out;
  for (const char32_t c : DecodeValidUtf8(token)) {
    const auto found = bytes.find(c);
    if (found == bytes.end()) return token;
    out += found->second;
  }
  return out;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

std::optional<char> ParseByteToken(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const int high = HexDigit(token[3]), low = HexDigit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

void ReplaceAll(std::string* text, std::string_view from, std::string_view to) {
  for (size_t i = text->find(from); i != std::string::npos; i = text->find(from, i + to.size())) {
    text->replace(i, from.size(), to);
  }
}

}  // namespace

char32_t ByteLevelChar(uint8_t byte) {
  return MadeOnce([] { return MakeByteLevelChars(); })[byte];
}

std::string ByteFallbackToken(uint8_t byte) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  return std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + '>';
}

Detokenizer::Detokenizer(const Vocabulary& vocabulary, Spelling spelling, bool strip_leading_space)
    : pieces_(vocabulary.tokens.size()),
      spelling_(spelling),
      strip_leading_space_(strip_leading_space) {
  for (size_t id = 0; id < pieces_.size(); ++id) {
    if (!vocabulary.tokens[id]) continue;
    pieces_[id] = MakePiece(*vocabulary.tokens[id], vocabulary.word_suffix);
    pieces_[id].special = vocabulary.is_special[id];
  }
}

Detokenizer::Piece Detokenizer::MakePiece(const std::string& token,
                                          const std::string& word_suffix) const {
  Piece piece;
  piece.kind = Kind::kText;
  piece.text = token;
  if (!word_suffix.empty() && token.ends_with(word_suffix)) {
    piece.ends_word = true;
    piece.text.resize(token.size() - word_suffix.size());
  }
  if (spelling_ == Spelling::kByteLevel) {
    piece.text = ByteLevelBytes(piece.text);
    piece.kind = Kind::kByte;
  } else {
    ReplaceAll(&piece.text, kSentencePieceSpace, " ");
    if (const std::optional<char> byte = ParseByteToken(piece.text)) {
      piece.text = *byte;
      piece.kind = Kind::kByte;
    }
  }
  return piece;
}

std::string Detokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  Stream stream;
  if (spelling_ == Spelling::kByteLevel) {
    std::string text;
    for (const int32_t id : ids) text += Push(id, skip_special, &stream);
    return text + Finish(&stream);
  }
  // A run of byte tokens is text as a whole or not at all; a stream cannot wait for its end.
  std::string text, run;
  const auto flush = [&] {
    if (IsValidUtf8(run)) {
      text += run;
    } else {
      for (size_t i = 0; i < run.size(); ++i) text += "\uFFFD";
    }
    run.clear();
  };
  for (const int32_t id : ids) {
    if (id < 0 || static_cast<size_t>(id) >= pieces_.size()) continue;
    const Piece& piece = pieces_[id];
    if (piece.kind == Kind::kNone || (piece.special && skip_special)) continue;
    if (piece.kind == Kind::kByte) {
      run += piece.text;
    } else {
      flush();
      text += piece.text;
    }
  }
  flush();
  return Started(std::move(text), &stream);
}

std::string Detokenizer::Push(int32_t id, bool skip_special, Stream* stream) const {
  if (id < 0 || static_cast<size_t>(id) >= pieces_.size()) return "";
  const Piece& piece = pieces_[id];
  if (piece.kind == Kind::kNone || (piece.special && skip_special)) return "";
  const bool byte_level = spelling_ == Spelling::kByteLevel;
  std::string out;
  if (piece.kind == Kind::kByte) {
    if (stream->space_is_due && !piece.text.empty()) stream->pending += ' ';
    if (!piece.text.empty()) stream->space_is_due = false;
    stream->pending += piece.text;
    if (piece.ends_word) stream->space_is_due = true;
    MoveCharacters(&stream->pending, false,
                   byte_level ? Replacement::kPerSequence : Replacement::kPerByte, &out);
  } else {
    MoveCharacters(&stream->pending, true, Replacement::kPerByte, &out);
    out += piece.text;
  }
  return Started(std::move(out), stream);
}

std::string Detokenizer::Finish(Stream* stream) const {
  std::string out;
  const bool byte_level = spelling_ == Spelling::kByteLevel;
  MoveCharacters(&stream->pending, true,
                 byte_level ? Replacement::kPerSequence : Replacement::kPerByte, &out);
  out = Started(std::move(out), stream);
  *stream = Stream();
  return out;
}

std::string Detokenizer::Started(std::string text, Stream* stream) const {
  if (stream->started || text.empty()) return text;
  stream->started = true;
  if (strip_leading_space_ && text[0] == ' ') text.erase(0, 1);
  return text;
}

}  // namespace g4v
