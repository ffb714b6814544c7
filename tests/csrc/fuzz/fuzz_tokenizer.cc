// Tokenizer files (text/tokenizer.h), mutated as JSON, and texts for them. The input is {"file":
// ..., "text": ...}. Ids are of the vocabulary, decoded text is UTF-8, a stream decodes as the
// whole, and merges are those of a plain search. The bytes are read as a charsmap, too.
#include <algorithm>

#include "fuzz.h"
#include "mutate.h"
#include "text/bpe.h"
#include "text/charsmap.h"
#include "text/tokenizer.h"

using namespace g4v;
using fuzz::Require;

namespace {

// Lowest rank first, leftmost among equals, by looking at all pairs anew each time.
std::vector<int32_t> PlainMerges(const MergeTable& merges, std::vector<int32_t> ids) {
  while (true) {
    const MergeTable::Merge* best = nullptr;
    size_t place = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const MergeTable::Merge* merge = merges.Find(ids[i], ids[i + 1]);
      if (!merge || (best && merge->rank >= best->rank)) continue;
      best = merge;
      place = i;
    }
    if (!best) return ids;
    ids[place] = best->id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

// Merges of a small vocabulary, in which a token is the text that it joins.
void CheckMerges(std::string_view bytes) {
  std::vector<std::string> tokens = {"a", "b", "c", "d"};
  const auto id_of = [&](const std::string& token) {
    const auto found = std::find(tokens.begin(), tokens.end(), token);
    if (found == tokens.end()) tokens.push_back(token);
    return static_cast<int32_t>(std::find(tokens.begin(), tokens.end(), token) - tokens.begin());
  };
  const size_t half = std::min<size_t>(bytes.size() / 2, 60);
  MergeTable table(half);
  for (size_t i = 0; i + 1 < half; i += 2) {
    const size_t left = static_cast<unsigned char>(bytes[i]) % tokens.size();
    const size_t right = static_cast<unsigned char>(bytes[i + 1]) % tokens.size();
    const std::string joined = tokens[left] + tokens[right];
    if (joined.size() > 8) continue;
    table.Insert(static_cast<int32_t>(left), static_cast<int32_t>(right),
                 {static_cast<uint32_t>(i), id_of(joined)});
  }
  std::vector<int32_t> ids;
  for (const char byte : bytes.substr(half, 100)) ids.push_back(byte & 3);
  const std::vector<int32_t> wanted = PlainMerges(table, ids);
  ApplyMerges(table, &ids);
  Require(ids == wanted, "merges are those of a plain search");
}

// The bytes as the beginning of a trie of 512 units, and the text through the map where it is taken.
void CheckCharsMap(std::string_view bytes) {
  std::string map(4 + 512 * 4, '\0');
  map[1] = 8;  // the size of the trie, little-endian: 2048
  std::copy_n(bytes.begin(), std::min<size_t>(bytes.size(), 2048), map.begin() + 4);
  map += std::string("abc\0", 4);
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  map.resize((map.size() + 2) / 3 * 3);
  std::string text;
  for (size_t i = 0; i < map.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) bits = bits << 8 | static_cast<unsigned char>(map[i + k]);
    for (int shift = 18; shift >= 0; shift -= 6) text += kDigits[bits >> shift & 63];
  }
  const Json json(text);
  fuzz::Accepts({Code::Bundle}, [&] {
    const CharsMap read = CharsMap::Read(JsonCursor(json));
    for (size_t start = 0; start < std::min<size_t>(bytes.size(), 64); ++start) {
      const CharsMap::Match match = read.Longest(bytes.substr(start));
      Require(match.length <= bytes.size() - start && match.replacement.size() <= 3,
              "a rule is within the text and the map");
    }
  });
}

void CheckText(const Tokenizer& tokenizer, const std::string& text, const std::string& type) {
  std::vector<int32_t> ids;
  for (const bool first : {true, false}) {
    if (!fuzz::Accepts({Code::InvalidArgument}, [&] { ids = tokenizer.Encode(text, first); }))
      return;
  }
  Require(IsValidUtf8(text), "only UTF-8 is encoded");
  StreamDecoder stream(tokenizer);
  std::string streamed;
  for (const int32_t id : ids) {
    Require(id >= 0 && static_cast<size_t>(id) < tokenizer.vocab_size(),
            "an id is of the vocabulary");
    streamed += stream.Push(id);
    Require(IsValidUtf8(streamed), "a stream never returns half a character");
  }
  streamed += stream.Finish();
  const std::string decoded = tokenizer.Decode(ids);
  Require(IsValidUtf8(decoded), "decoded text is UTF-8");
  if (type != "sentencepiece_bpe" && type != "unigram")
    Require(streamed == decoded, "a stream decodes as the whole");
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  return fuzz::ChangeJson(data, size, most, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  CheckMerges(bytes);
  CheckCharsMap(bytes);
  Json input;
  if (!fuzz::Accepts({Code::Bundle}, [&] { input = ParseJson(bytes); }) || !input.is_object())
    return 0;
  const Json* const file = input.Find("file");
  const Json* const text = input.Find("text");
  if (!file || !text || !text->is_string()) return 0;
  std::unique_ptr<Tokenizer> tokenizer;
  if (!fuzz::Accepts({Code::Bundle}, [&] { tokenizer = Tokenizer::Load(file->Dump()); })) return 0;
  const std::string type = file->Find("type")->AsString();
  CheckText(*tokenizer, text->AsString(), type);
  // Ids that nothing encoded, outside the vocabulary among them.
  std::vector<int32_t> ids;
  for (const char byte : text->AsString()) ids.push_back(static_cast<signed char>(byte));
  for (const bool skip : {true, false}) {
    Require(IsValidUtf8(tokenizer->Decode(ids, skip)), "any ids decode to UTF-8");
  }
  return 0;
}
