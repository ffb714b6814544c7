#include <algorithm>
#include <charconv>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"

namespace g4v {
namespace {

class Parser {
 public:
  Parser(std::string_view text, std::string_view what, int max_depth)
      : text_(text), what_(what), depth_left_(max_depth) {}

  Json ParseDocument() {
    SkipSpace();
    Json value = ParseValue();
    SkipSpace();
    if (position_ != text_.size()) Fail("text after the end");
    return value;
  }

 private:
  [[noreturn]] void Fail(const std::string& message) const {
    const auto line = 1 + std::count(text_.begin(), text_.begin() + position_, '\n');
    throw Error(Code::Bundle, std::string(what_) + " is not valid JSON (line " +
                                  std::to_string(line) + ": " + message +
                                  "); the file is damaged, get it again");
  }

  bool AtEnd() const { return position_ >= text_.size(); }
  char Peek() const { return AtEnd() ? '\0' : text_[position_]; }

  char Next() {
    if (AtEnd()) Fail("the text ends too early");
    return text_[position_++];
  }

  void SkipSpace() {
    while (!AtEnd()) {
      const char c = text_[position_];
      if (c != ' ' && c != '\t' && c != '\n' && c != '\r') return;
      ++position_;
    }
  }

  bool Accept(char wanted) {
    if (AtEnd() || text_[position_] != wanted) return false;
    ++position_;
    return true;
  }

  void ExpectWord(std::string_view word) {
    if (text_.substr(position_, word.size()) != word) Fail("unknown word");
    position_ += word.size();
  }

  Json ParseValue() {
    if (AtEnd()) Fail("the text ends too early");
    switch (Peek()) {
      case '{':
        return Nested([this] { return ParseObject(); });
      case '[':
        return Nested([this] { return ParseArray(); });
      case '"':
        return ParseString();
      case 't':
        ExpectWord("true");
        return true;
      case 'f':
        ExpectWord("false");
        return false;
      case 'n':
        ExpectWord("null");
        return {};
      default:
        return ParseNumber();
    }
  }

  template <class Function>
  Json Nested(Function parse) {
    if (depth_left_ == 0) Fail("nested too deeply");
    --depth_left_;
    Json value = parse();
    ++depth_left_;
    return value;
  }

  Json ParseArray() {
    Json::Array array;
    Next();
    SkipSpace();
    if (Accept(']')) return array;
    while (true) {
      SkipSpace();
      array.push_back(ParseValue());
      SkipSpace();
      if (Accept(']')) return array;
      if (!Accept(',')) Fail("expected , or ]");
    }
  }

  Json ParseObject() {
    Json::Object object;
    Next();
    SkipSpace();
    if (Accept('}')) return object;
    while (true) {
      SkipSpace();
      if (Peek() != '"') Fail("expected a key");
      std::string key = ParseString();
      SkipSpace();
      if (!Accept(':')) Fail("expected :");
      SkipSpace();
      object.emplace_back(std::move(key), ParseValue());
      SkipSpace();
      if (Accept('}')) break;
      if (!Accept(',')) Fail("expected , or }");
    }
    RefuseDuplicates(object);
    return object;
  }

  void RefuseDuplicates(const Json::Object& object) const {
    std::vector<std::string_view> keys;
    keys.reserve(object.size());
    for (const auto& member : object) keys.push_back(member.first);
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) Fail("the key \"" + std::string(*twice) + "\" appears twice");
  }

  std::string ParseString() {
    std::string out;
    Next();
    while (true) {
      const size_t start = position_;
      while (!AtEnd() && text_[position_] != '"' && text_[position_] != '\\' &&
             static_cast<unsigned char>(text_[position_]) >= 0x20) {
        ++position_;
      }
      out.append(text_, start, position_ - start);
      const char c = Next();
      if (c == '"') break;
      if (c != '\\') Fail("control character in a string");
      ParseEscape(out);
    }
    return out;
  }

  void ParseEscape(std::string& out) {
    switch (Next()) {
      case '"':
        out += '"';
        break;
      case '\\':
        out += '\\';
        break;
      case '/':
        out += '/';
        break;
      case 'b':
        out += '\b';
        break;
      case 'f':
        out += '\f';
        break;
      case 'n':
        out += '\n';
        break;
      case 'r':
        out += '\r';
        break;
      case 't':
        out += '\t';
        break;
      case 'u':
        AppendUtf8(ParseCodePoint(), out);
        break;
      default:
        Fail("unknown escape");
    }
  }

  uint32_t ParseCodePoint() {
    const uint32_t first = ParseHex4();
    if (first < 0xD800 || first > 0xDFFF) return first;
    if (first > 0xDBFF || Next() != '\\' || Next() != 'u') Fail("lone surrogate");
    const uint32_t second = ParseHex4();
    if (second < 0xDC00 || second > 0xDFFF) Fail("lone surrogate");
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
  }

  uint32_t ParseHex4() {
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = Next();
      value <<= 4;
      if (c >= '0' && c <= '9') {
        value += static_cast<uint32_t>(c - '0');
      } else if (c >= 'a' && c <= 'f') {
        value += static_cast<uint32_t>(c - 'a' + 10);
      } else if (c >= 'A' && c <= 'F') {
        value += static_cast<uint32_t>(c - 'A' + 10);
      } else {
        Fail("expected a hexadecimal digit");
      }
    }
    return value;
  }

  size_t SkipDigits() {
    const size_t start = position_;
    while (Peek() >= '0' && Peek() <= '9') ++position_;
    return position_ - start;
  }

  Json ParseNumber() {
    const size_t start = position_;
    Accept('-');
    const bool zero = Peek() == '0';
    const size_t digits = SkipDigits();
    if (digits == 0) Fail("expected a value");
    if (zero && digits > 1) Fail("a number starts with 0");
    bool integer = true;
    if (Accept('.')) {
      integer = false;
      if (SkipDigits() == 0) Fail("expected a digit");
    }
    if (Accept('e') || Accept('E')) {
      integer = false;
      if (!Accept('+')) Accept('-');
      if (SkipDigits() == 0) Fail("expected a digit");
    }
    const char* first = text_.data() + start;
    const char* last = text_.data() + position_;
    if (integer) return Convert<int64_t>(first, last);
    return Convert<double>(first, last);
  }

  template <class Number>
  Number Convert(const char* first, const char* last) const {
    Number value{};
    const auto result = std::from_chars(first, last, value);
    if (result.ec != std::errc() || result.ptr != last) Fail("a number out of range");
    return value;
  }

  std::string_view text_;
  std::string_view what_;
  size_t position_ = 0;
  int depth_left_;
};

}  // namespace

Json ParseJson(std::string_view text, std::string_view what, int max_depth) {
  if (!IsValidUtf8(text)) {
    throw Error(Code::Bundle,
                std::string(what) + " is not valid UTF-8; the file is damaged, get it again");
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // a byte order mark
  return Parser(text, what, max_depth).ParseDocument();
}

}  // namespace g4v
