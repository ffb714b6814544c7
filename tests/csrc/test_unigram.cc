// The Unigram tokenizer without Python: a small file, and its charsmap by hand. Equality with
// SentencePiece is tested in tests/python/test_unigram.py.
#include <string>
#include <vector>

#include "base/json.h"
#include "check.h"
#include "text/charsmap.h"
#include "text/prefix_index.h"
#include "text/tokenizer.h"

using g4v::CharsMap;
using g4v::Code;
using g4v::Json;
using g4v::JsonCursor;
using g4v::Tokenizer;

namespace {

using Ids = std::vector<int32_t>;

std::string Base64(const std::string& bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    for (size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      text += k <= count ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
    }
  }
  return text;
}

// A trie with the rules "a" -> "x" and "ab" -> "": the root's children lie at 1 ^ byte, those of "a"
// at 98 ^ byte ^ 96, and a value at the base of its node.
std::string Map() {
  std::vector<uint32_t> units(256, 0x80000000u);
  const auto unit = [](uint32_t offset, uint32_t label, bool leaf) {
    return offset << 10 | (leaf ? 1u << 8 : 0u) | label;
  };
  units[0] = unit(1, 0, false);
  const uint32_t a = 1 ^ 'a';
  units[a] = unit(200, 'a', true);
  const uint32_t under_a = a ^ 200;
  units[under_a] = 0x80000000u | 0;
  const uint32_t b = under_a ^ 'b';
  units[b] = unit(3, 'b', true);
  units[b ^ 3] = 0x80000000u | 1;
  std::string bytes;
  const auto put = [&bytes](uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(value >> shift & 0xFF);
  };
  put(static_cast<uint32_t>(4 * units.size()));
  for (const uint32_t value : units) put(value);
  return bytes + std::string("x\0\0", 3);
}

std::string File(const std::string& map) {
  return Json(Json::Object{{"format", "g4v-tokenizer"},
                           {"format_version", 1},
                           {"type", "unigram"},
                           {"vocab", Json::Array{"<unk>", "</s>", "\u2581", "x", "xx", "\u2581x",
                                                 "b", "cd"}},
                           {"scores", Json::Array{0, 0, -2.0, -3.0, -5.5, -5.5, -4.0, 0}},
                           {"special_tokens", Json::Object{{"<unk>", 0}, {"</s>", 1}}},
                           {"unk_token", "<unk>"},
                           {"user_defined", Json::Array{7}},
                           {"unused", Json::Array{6}},
                           {"byte_fallback", false},
                           {"precompiled_charsmap", Base64(map)},
                           {"add_dummy_prefix", true},
                           {"remove_extra_whitespaces", true},
                           {"escape_whitespaces", true},
                           {"treat_whitespace_as_suffix", false}})
      .Dump();
}

void TestCharsMap() {
  const Json text(Base64(Map()));
  const CharsMap map = CharsMap::Read(JsonCursor(text));
  const auto longest = [&map](std::string_view from) {
    const CharsMap::Match match = map.Longest(from);
    return std::to_string(match.length) + ":" + std::string(match.replacement);
  };
  CHECK(longest("a") == "1:x");
  CHECK(longest("ac") == "1:x");
  CHECK(longest("abc") == "2:");
  CHECK(longest("b") == "0:");
  CHECK(longest("") == "0:");
  CHECK(CharsMap().Longest("a").length == 0);
  std::string cut = Map();
  cut.pop_back();
  cut.back() = 'y';
  const Json broken(Base64(cut));
  CHECK_THROWS(CharsMap::Read(JsonCursor(broken)), Code::Bundle, "without an end");
}

void TestPrefixIndex() {
  const g4v::PrefixIndex index({{"ab", 1}, {"a", 2}, {"abcd", 3}, {"b", 4}, {"\xff", 5}});
  const auto found = [&index](std::string_view text) {
    std::string all;
    index.ForEachPrefix(text, [&all](size_t length, int32_t number) {
      all += std::to_string(length) + "=" + std::to_string(number) + " ";
    });
    return all;
  };
  CHECK(found("abcde") == "1=2 2=1 4=3 ");
  CHECK(found("abc") == "1=2 2=1 ");
  CHECK(found("b") == "1=4 ");
  CHECK(found("\xff") == "1=5 ");
  CHECK(found("c").empty());
  CHECK(found("").empty());
  CHECK(g4v::PrefixIndex().empty());
}

void TestTokenizer() {
  const auto tokenizer = Tokenizer::Load(File(Map()));
  CHECK(tokenizer->vocab_size() == 8);
  CHECK(tokenizer->TokenId("</s>") == 1);
  CHECK(tokenizer->Encode("a") == (Ids{2, 3}));     // "x": -2 - 3 is more than -5.5
  CHECK(tokenizer->Encode("aa") == (Ids{2, 4}));    // -2 - 5.5 is more than -2 - 6
  CHECK(tokenizer->Encode("aa", false) == Ids{4});  // without the space
  CHECK(tokenizer->Encode("  a   a ") == (Ids{2, 3, 2, 3}));
  CHECK(tokenizer->Encode("abab").empty());  // all of it becomes nothing, and spaces at an end go
  CHECK(tokenizer->Encode("qqb") == (Ids{2, 0}));  // a run of unknown characters, unused ones too
  CHECK(tokenizer->Encode("cd") == (Ids{2, 7}));
  CHECK(tokenizer->Encode("</s>") == (Ids{2, 0}));
  CHECK(tokenizer->Encode("").empty() && tokenizer->Encode("   ").empty());
  CHECK(tokenizer->Decode(Ids{2, 3, 2, 3, 1}) == "x x");
  CHECK_THROWS(tokenizer->Encode("\xff"), Code::InvalidArgument, "UTF-8");
}

void TestRefusals() {
  std::string text = File(Map());
  CHECK_THROWS(Tokenizer::Load(File("abc")), Code::Bundle, "wrong size");
  const size_t place = text.find("\"unused\":[6]");
  text.replace(place, 12, "\"unused\":[7]");
  CHECK_THROWS(Tokenizer::Load(text), Code::Bundle, "unused[0]");
}

}  // namespace

int main() {
  TestCharsMap();
  TestPrefixIndex();
  TestTokenizer();
  TestRefusals();
  return g4v::test::Finish();
}
