#include "text/sentencepiece_bpe.h"

#include <array>
#include <unordered_map>
#include <utility>

#include "base/utf8.h"
#include "text/detokenizer.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace g4v {
namespace {

constexpr char32_t kSpaceSymbol = 0x2581;

// Where the dummy space is put, which matters where a text holds added tokens.
enum class Spaces {
  kNormalizer,  // before the normalised text is searched, and before every text between two tokens
  kFirst,       // behind it, at the start of the whole text alone
  kAlways,      // behind it, before every text between two tokens
};

Spaces ReadSpaces(const JsonCursor& file) {
  const std::optional<JsonCursor> word = file.Find("spaces");
  if (!word || word->AsString() == "normalizer") return Spaces::kNormalizer;
  if (word->AsString() == "first") return Spaces::kFirst;
  if (word->AsString() == "always") return Spaces::kAlways;
  word->Fail("is none of normalizer, first, always");
}

class SentencePieceBpe final : public Tokenizer {
 public:
  SentencePieceBpe(Vocabulary vocabulary, bool byte_fallback, bool strip_leading_space,
                   Spaces spaces)
      : Tokenizer(vocabulary, std::make_unique<Detokenizer>(vocabulary, Spelling::kSentencePiece,
                                                            strip_leading_space)),
        vocabulary_(std::move(vocabulary)),
        spaces_(spaces) {
    for (const auto& [token, id] : vocabulary_.ids) {
      if (vocabulary_.is_special[id] || token.empty() || token.size() > 4) continue;
      const std::u32string characters = DecodeValidUtf8(token);
      if (characters.size() == 1) characters_.emplace(characters[0], id);
    }
    for (int byte = 0; byte_fallback && byte < 256; ++byte) {
      bytes_[byte] = vocabulary_.Find(ByteFallbackToken(static_cast<uint8_t>(byte)));
    }
  }

  using Tokenizer::SetAddedTokens;

 private:
  std::u32string Normalize(std::u32string text, bool starts_text) const override {
    return spaces_ == Spaces::kNormalizer ? Spaced(std::move(text), starts_text) : text;
  }

  bool spaces_every_piece() const override { return spaces_ != Spaces::kFirst; }

  void EncodeNormalized(std::u32string text, bool starts_text,
                        std::vector<int32_t>* ids) const override {
    if (spaces_ != Spaces::kNormalizer) text = Spaced(std::move(text), starts_text);
    if (vocabulary_.ignore_merges) {
      std::string whole;
      for (const char32_t c : text) AppendUtf8(c, whole);
      const std::optional<int32_t> id = vocabulary_.Find(whole);
      if (id && !vocabulary_.is_special[*id]) {
        ids->push_back(*id);
        return;
      }
    }
    std::vector<int32_t> symbols = Symbols(text);
    ApplyMerges(vocabulary_.merges, &symbols);
    ids->insert(ids->end(), symbols.begin(), symbols.end());
  }

  // The vocabulary's sign for spaces, and the dummy space.
  std::u32string Spaced(std::u32string text, bool starts_text) const {
    for (char32_t& c : text) {
      if (c == U' ') c = kSpaceSymbol;
    }
    if (starts_text && !text.empty() && vocabulary_.prefix_space != PrefixSpace::kNever) {
      const bool present = text[0] == kSpaceSymbol;
      if (!present || vocabulary_.prefix_space == PrefixSpace::kAlways) {
        text.insert(0, 1, kSpaceSymbol);
      }
    }
    return text;
  }

  // One id for each character, one for each byte of a character that the vocabulary lacks, or the
  // unknown token where it lacks one of the bytes too.
  std::vector<int32_t> Symbols(const std::u32string& text) const {
    std::vector<int32_t> ids;
    ids.reserve(text.size() + 8);
    std::string utf8;
    // An unknown token is held back until a known character comes, so bytes in between precede it:
    // Hugging Face's order.
    bool unknown_is_due = false;
    for (const char32_t c : text) {
      const auto found = characters_.find(c);
      if (found != characters_.end()) {
        if (unknown_is_due) ids.push_back(*vocabulary_.unknown);
        unknown_is_due = false;
        ids.push_back(found->second);
        continue;
      }
      utf8.clear();
      AppendUtf8(c, utf8);
      if (AppendBytes(utf8, &ids) || !vocabulary_.unknown) continue;
      if (unknown_is_due && !vocabulary_.fuse_unknown) ids.push_back(*vocabulary_.unknown);
      unknown_is_due = true;
    }
    if (unknown_is_due) ids.push_back(*vocabulary_.unknown);
    return ids;
  }

  bool AppendBytes(const std::string& utf8, std::vector<int32_t>* ids) const {
    for (const char byte : utf8) {
      if (!bytes_[static_cast<uint8_t>(byte)]) return false;
    }
    for (const char byte : utf8) ids->push_back(*bytes_[static_cast<uint8_t>(byte)]);
    return true;
  }

  Vocabulary vocabulary_;
  Spaces spaces_;
  std::unordered_map<char32_t, int32_t> characters_;  // tokens of one character
  std::array<std::optional<int32_t>, 256> bytes_;     // byte tokens, where bytes are fallen back to
};

}  // namespace

std::unique_ptr<Tokenizer> LoadSentencePieceBpe(const JsonCursor& file) {
  file.ExpectKeys({"format", "format_version", "type", "vocab", "merges", "added_tokens",
                   "special_tokens", "unk_token", "fuse_unk", "ignore_merges", "prefix_space",
                   "byte_fallback", "strip_leading_space", "spaces", "text_tokens"});
  const bool byte_fallback = file.Get("byte_fallback").AsBool();
  const bool strip_leading_space = file.Get("strip_leading_space").AsBool();
  Vocabulary vocabulary = Vocabulary::Read(file, "");
  const std::vector<AddedToken> added = ReadAddedTokens(file, &vocabulary);
  auto tokenizer = std::make_unique<SentencePieceBpe>(std::move(vocabulary), byte_fallback,
                                                      strip_leading_space, ReadSpaces(file));
  tokenizer->SetAddedTokens(added);
  return tokenizer;
}

}  // namespace g4v
