// The tokenizers without Python: small hand-made files of each type. Equality with Hugging Face on
// large vocabularies is tested in tests/python/test_tokenizer.py.
#include <string>
#include <vector>

#include "base/json.h"
#include "check.h"
#include "text/bpe.h"
#include "text/detokenizer.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/utf8_stream.h"

using g4v::Code;
using g4v::Json;
using g4v::PreTokenizer;
using g4v::StreamDecoder;
using g4v::Tokenizer;

namespace {

using Ids = std::vector<int32_t>;

Json::Object File(const char* type, Json::Array vocab, Json::Array merges, Json::Object special) {
  return {{"format", "g4v-tokenizer"},
          {"format_version", 1},
          {"type", type},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)},
          {"added_tokens", Json::Object{}},
          {"special_tokens", std::move(special)},
          {"unk_token", Json()},
          {"fuse_unk", false},
          {"ignore_merges", false},
          {"prefix_space", "never"}};
}

// All bytes at their value plus two, after <s> 0 and </s> 1; then "he" 258, "hel" 259, "ll" 260.
std::string ByteLevelFile() {
  Json::Array vocab = {"<s>", "</s>"};
  for (int byte = 0; byte < 256; ++byte) {
    std::string token;
    g4v::AppendUtf8(g4v::ByteLevelChar(static_cast<uint8_t>(byte)), token);
    vocab.emplace_back(token);
  }
  vocab.insert(vocab.end(), {Json("he"), Json("hel"), Json("ll")});
  const auto id = [](char c) { return Json(static_cast<unsigned char>(c) + 2); };
  Json::Array merges = {id('h'), id('e'), id('l'), id('l'), Json(258), id('l')};
  Json::Object file = File("byte_level_bpe", vocab, merges, {{"<s>", 0}, {"</s>", 1}});
  file.emplace_back("normalizer", "none");
  file.emplace_back("pre_tokenizer", "gpt2");
  return Json(file).Dump();
}

// <unk> 0, then the symbols of "▁hi" and what they merge to, then two of the byte tokens.
std::string SentencePieceFile(const char* prefix_space) {
  Json::Array vocab = {"<unk>", "\u2581", "h", "i", "hi", "\u2581hi", "<0xC3>", "<0xA9>"};
  Json::Object file =
      File("sentencepiece_bpe", vocab, {Json(2), Json(3), Json(1), Json(4)}, {{"<unk>", 0}});
  file.emplace_back("byte_fallback", true);
  file.emplace_back("strip_leading_space", true);
  for (auto& [key, value] : file) {
    if (key == "unk_token") value = "<unk>";
    if (key == "fuse_unk") value = true;
    if (key == "prefix_space") value = prefix_space;
  }
  return Json(file).Dump();
}

void TestByteLevel() {
  const auto tokenizer = Tokenizer::Load(ByteLevelFile());
  CHECK(tokenizer->vocab_size() == 261);
  CHECK(tokenizer->TokenId("</s>") == 1);
  CHECK(!tokenizer->TokenId("he"));
  // "ll" has a lower rank than "hel".
  CHECK(tokenizer->Encode("hello") == (Ids{258, 260, 'o' + 2}));
  CHECK(tokenizer->Encode("hel o") == (Ids{259, ' ' + 2, 'o' + 2}));
  CHECK(tokenizer->Encode("</s>") == (Ids{'<' + 2, '/' + 2, 's' + 2, '>' + 2}));
  CHECK(tokenizer->Encode("").empty());
  CHECK(tokenizer->Decode(Ids{0, 258, 260, 'o' + 2, 1}) == "hello");
  CHECK(tokenizer->Decode(Ids{0, 258, 1}, false) == "<s>he</s>");
  CHECK(tokenizer->Decode(Ids{0xF0 + 2, 0x9F + 2, 'x' + 2}) == "\uFFFDx");
  CHECK(tokenizer->Decode(Ids{-1, 1000000}).empty());
  CHECK_THROWS(tokenizer->Encode("\xff"), Code::InvalidArgument, "UTF-8");
}

void TestStream() {
  const auto tokenizer = Tokenizer::Load(ByteLevelFile());
  StreamDecoder stream(*tokenizer);
  CHECK(stream.Push(0xC3 + 2).empty());
  CHECK(stream.Push(1).empty());  // a special token does not break the character
  CHECK(stream.Push(0xA9 + 2) == "\u00e9");
  CHECK(stream.Push(0xE2 + 2).empty());
  CHECK(stream.Push('a' + 2) ==
        "\uFFFD"
        "a");
  CHECK(stream.Push(0xE2 + 2).empty());
  CHECK(stream.Finish() == "\uFFFD");
  CHECK(stream.Finish().empty());
}

void TestSentencePiece() {
  const auto always = Tokenizer::Load(SentencePieceFile("always"));
  CHECK(always->Encode("hi") == Ids{5});
  CHECK(always->Encode("hi", false) == Ids{4});
  CHECK(always->Encode(" hi") == (Ids{1, 5}));
  CHECK(always->Encode("").empty());
  CHECK(always->Encode("\u00e9", false) == (Ids{6, 7}));
  CHECK(always->Encode("zz", false) == Ids{0});  // unknown bytes, fused
  CHECK(Tokenizer::Load(SentencePieceFile("unless_present"))->Encode(" hi") == Ids{5});
  CHECK(Tokenizer::Load(SentencePieceFile("never"))->Encode("hi") == Ids{4});
  CHECK(always->Decode(Ids{5, 5}) == "hi hi");
  CHECK(always->Decode(Ids{6, 7, 4}) == "\u00e9hi");
  CHECK(always->Decode(Ids{6, 7, 6}) == "\uFFFD\uFFFD\uFFFD");
  StreamDecoder stream(*always);
  CHECK(stream.Push(5) == "hi");
  CHECK(stream.Push(6).empty());
  CHECK(stream.Push(7) == "\u00e9");
  CHECK(stream.Push(5) == " hi");
  CHECK(stream.Finish().empty());
  CHECK(stream.Push(5) == "hi");
}

void TestMerges() {
  g4v::MergeTable merges(3);
  merges.Insert(1, 1, {0, 2});
  merges.Insert(2, 1, {1, 3});
  merges.Insert(1, 2, {2, 4});
  const auto merged = [&](Ids ids) {
    g4v::ApplyMerges(merges, &ids);
    return ids;
  };
  CHECK(merged({1, 1, 1}) == Ids{3});  // the leftmost pair first
  CHECK(merged({1, 1, 1, 1}) == (Ids{2, 2}));
  CHECK(merged({1}) == Ids{1});
  CHECK(merged({}).empty());
  CHECK(merged({0, 1, 0, 1}) == (Ids{0, 1, 0, 1}));
}

std::string Words(PreTokenizer kind, std::u32string_view text) {
  std::string out;
  g4v::SplitWords(kind, text, [&out](std::u32string_view word) {
    for (const char32_t c : word) g4v::AppendUtf8(c, out);
    out += '|';
  });
  return out;
}

void TestPreTokenizers() {
  CHECK(Words(PreTokenizer::kNone, U"a b") == "a b|");
  CHECK(Words(PreTokenizer::kGpt2, U"I'm  here: 42\n\n") == "I|'m| | here|:| 42|\n\n|");
  CHECK(Words(PreTokenizer::kGpt2, U" \t x'S") == " \t| x|'|S|");
  CHECK(Words(PreTokenizer::kSmolLm2, U"in 2024  9") == "in| |2|0|2|4|  |9|");
  CHECK(Words(PreTokenizer::kLlama3, U"1234 I'M (ok)\r\n  x") == "123|4| I|'M| (|ok|)\r\n| | x|");
  CHECK(Words(PreTokenizer::kQwen2, U"12\t\n y") == "1|2|\t\n| y|");
  CHECK(Words(PreTokenizer::kClip, U"a1  b's!?") == "a|1|b|'s|!?|");
  CHECK(Words(PreTokenizer::kClip, U"<|endoftext|>!") == "<||endoftext||>!|");
  CHECK(Words(PreTokenizer::kClipSpecial, U"<|endoftext|>!") == "<||endoftext||>|!|");
  CHECK(!g4v::FindPreTokenizer("bert"));
}

void TestUnicode() {
  CHECK(g4v::NormalizeNfc(U"e\u0301") == U"\u00e9");
  CHECK(g4v::NormalizeNfc(U"q\u0307\u0323") == U"q\u0323\u0307");
  CHECK(g4v::NormalizeNfc(U"\u1100\u1161\u11a8") == U"\uac01");
  CHECK(g4v::NormalizeNfc(U"\u212b\u2126") == U"\u00c5\u03a9");
  CHECK(g4v::NormalizeNfc(U"\u0958") == U"\u0915\u093c");  // excluded from composition
  CHECK(g4v::Lowercase(U"A\u00c9\u0130\u03a3\u1e9e\U00010400") ==
        U"a\u00e9i\u0307\u03c3\u00df\U00010428");
  CHECK(g4v::ClassOf(U'\u00aa') == g4v::kLetter);
  CHECK(g4v::ClassOf(U'\u2167') == (g4v::kNumber | g4v::kDigitSplit));
  CHECK(g4v::ClassOf(U'\u0085') == g4v::kSpace);
  CHECK(g4v::ClassOf(0x10FFFF) == 0);
}

void TestReplacement() {
  const auto moved = [](std::string bytes, bool last, g4v::Replacement replacement) {
    std::string out;
    g4v::MoveCharacters(&bytes, last, replacement, &out);
    return out + "+" + std::to_string(bytes.size());
  };
  using g4v::Replacement;
  CHECK(moved("a\xe2\x82", false, Replacement::kPerSequence) == "a+2");
  CHECK(moved("a\xe2\x82", true, Replacement::kPerSequence) == "a\uFFFD+0");
  CHECK(moved("a\xe2\x82", true, Replacement::kPerByte) == "a\uFFFD\uFFFD+0");
  CHECK(moved("\xe0\x80z", false, Replacement::kPerSequence) == "\uFFFD\uFFFDz+0");
  CHECK(moved("\xed\xa0\x80", false, Replacement::kPerSequence) == "\uFFFD\uFFFD\uFFFD+0");
  CHECK(moved("\xf4\x90", false, Replacement::kPerSequence) == "\uFFFD\uFFFD+0");
}

void TestRefusals() {
  CHECK_THROWS(Tokenizer::Load(""), Code::Bundle, "tokenizer.json");
  CHECK_THROWS(Tokenizer::Load("{}"), Code::Bundle, "no g4v tokenizer");
  CHECK_THROWS(Tokenizer::Load("{\"format\":\"g4v-tokenizer\",\"format_version\":2}"), Code::Bundle,
               "version is 2");
  std::string text = ByteLevelFile();
  text.replace(text.find("gpt2"), 4, "bert");
  CHECK_THROWS(Tokenizer::Load(text), Code::Bundle, "pre_tokenizer");
  text.resize(text.size() / 2);
  CHECK_THROWS(Tokenizer::Load(text), Code::Bundle, "tokenizer.json");
}

}  // namespace

int main() {
  TestByteLevel();
  TestStream();
  TestSentencePiece();
  TestMerges();
  TestPreTokenizers();
  TestUnicode();
  TestReplacement();
  TestRefusals();
  return g4v::test::Finish();
}
