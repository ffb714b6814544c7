#include "text/byte_level_bpe.h"

#include <array>
#include <utility>

#include "base/utf8.h"
#include "text/detokenizer.h"
#include "text/pre_tokenizer.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace g4v {
namespace {

enum class Normalizer {
  kNone,
  kNfc,
  kClip,  // NFC, runs of white space to one space, lower case
};

Normalizer ReadNormalizer(const JsonCursor& name) {
  if (name.AsString() == "none") return Normalizer::kNone;
  if (name.AsString() == "nfc") return Normalizer::kNfc;
  if (name.AsString() == "clip") return Normalizer::kClip;
  name.Fail("is none of none, nfc, clip");
}

std::u32string Normalized(Normalizer normalizer, std::u32string text) {
  if (normalizer == Normalizer::kNone) return text;
  text = NormalizeNfc(text);
  if (normalizer == Normalizer::kNfc) return text;
  std::u32string spaced;
  spaced.reserve(text.size());
  bool in_space = false;
  for (const char32_t c : text) {
    const bool space = ClassOf(c) & kSpace;
    if (!space) spaced += c;
    if (space && !in_space) spaced += U' ';
    in_space = space;
  }
  return Lowercase(spaced);
}

class ByteLevelBpe final : public Tokenizer {
 public:
  ByteLevelBpe(Vocabulary vocabulary, Normalizer normalizer, PreTokenizer pre_tokenizer)
      : Tokenizer(vocabulary,
                  std::make_unique<Detokenizer>(vocabulary, Spelling::kByteLevel, false)),
        vocabulary_(std::move(vocabulary)),
        normalizer_(normalizer),
        pre_tokenizer_(pre_tokenizer) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string symbol;
      AppendUtf8(ByteLevelChar(static_cast<uint8_t>(byte)), symbol);
      inner_[byte] = vocabulary_.Find(symbol);
      last_[byte] = vocabulary_.Find(symbol + vocabulary_.word_suffix);
    }
  }

  using Tokenizer::SetAddedTokens;

 private:
  std::u32string Normalize(std::u32string text, bool) const override {
    return Normalized(normalizer_, std::move(text));
  }

  bool spaces_every_piece() const override { return true; }

  void EncodeNormalized(std::u32string text, bool starts_text,
                        std::vector<int32_t>* ids) const override {
    if (starts_text && !text.empty() && vocabulary_.prefix_space != PrefixSpace::kNever) {
      const bool present = text[0] == U' ';
      if (!present || vocabulary_.prefix_space == PrefixSpace::kAlways) text.insert(0, 1, U' ');
    }
    std::vector<int32_t> word_ids;
    std::string word;
    SplitWords(pre_tokenizer_, text, [&](std::u32string_view characters) {
      word.clear();
      for (const char32_t c : characters) AppendUtf8(c, word);
      EncodeWord(word, &word_ids);
      ids->insert(ids->end(), word_ids.begin(), word_ids.end());
    });
  }

  void EncodeWord(const std::string& word, std::vector<int32_t>* ids) const {
    ids->clear();
    if (vocabulary_.ignore_merges) {
      if (const std::optional<int32_t> whole = FindWhole(word)) {
        ids->push_back(*whole);
        return;
      }
    }
    bool after_unknown = false;
    for (size_t i = 0; i < word.size(); ++i) {
      const auto byte = static_cast<uint8_t>(word[i]);
      const std::optional<int32_t> id = i + 1 == word.size() ? last_[byte] : inner_[byte];
      if (id) {
        ids->push_back(*id);
      } else if (vocabulary_.unknown && !(after_unknown && vocabulary_.fuse_unknown)) {
        ids->push_back(*vocabulary_.unknown);
      }
      // A byte without any token, where there is no unknown token, leaves no trace.
      after_unknown = !id;
    }
    ApplyMerges(vocabulary_.merges, ids);
  }

  // The token that spells the whole word, unless it is a special one.
  std::optional<int32_t> FindWhole(const std::string& word) const {
    std::string spelled;
    for (const char byte : word) AppendUtf8(ByteLevelChar(static_cast<uint8_t>(byte)), spelled);
    const std::optional<int32_t> id = vocabulary_.Find(spelled);
    return id && vocabulary_.is_special[*id] ? std::nullopt : id;
  }

  Vocabulary vocabulary_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::array<std::optional<int32_t>, 256> inner_;  // token of a byte inside a word
  std::array<std::optional<int32_t>, 256> last_;   // token of a byte at the end of a word
};

}  // namespace

std::unique_ptr<Tokenizer> LoadByteLevelBpe(const JsonCursor& file,
                                            const std::string& word_suffix) {
  file.ExpectKeys({"format", "format_version", "type", "vocab", "merges", "added_tokens",
                   "special_tokens", "unk_token", "fuse_unk", "ignore_merges", "prefix_space",
                   "normalizer", "pre_tokenizer", "text_tokens"});
  Vocabulary vocabulary = Vocabulary::Read(file, word_suffix);
  const JsonCursor name = file.Get("pre_tokenizer");
  const std::optional<PreTokenizer> pre_tokenizer = FindPreTokenizer(name.AsString());
  if (!pre_tokenizer) name.Fail("is no pre-tokenizer that this g4v knows");
  const std::vector<AddedToken> added = ReadAddedTokens(file, &vocabulary);
  auto tokenizer = std::make_unique<ByteLevelBpe>(
      std::move(vocabulary), ReadNormalizer(file.Get("normalizer")), *pre_tokenizer);
  tokenizer->SetAddedTokens(added);
  return tokenizer;
}

}  // namespace g4v
