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

class SentencePieceBpe final : public Tokenizer {
 public:
  SentencePieceBpe(Vocabulary vocabulary, bool byte_fallback, bool strip_leading_space)
      : Tokenizer(vocabulary, std::make_unique<Detokenizer>(vocabulary, Spelling::kSentencePiece,
                                                            strip_leading_space)),
        vocabulary_(std::move(vocabulary)) {
    for (const auto& [token, id] : vocabulary_.ids) {
      if (vocabulary_.is_special[id] || token.empty() || token.size() > 4) continue;
      const std::u32string characters = DecodeValidUtf8(token);
      if (characters.size() == 1) characters_.emplace(characters[0], id);
    }
    for (int byte = 0; byte_fallback && byte < 256; ++byte) {
      bytes_[byte] = vocabulary_.Find(ByteFallbackToken(static_cast<uint8_t>(byte)));
    }
  }

  std::vector<int32_t> Encode(std::string_view utf8, bool first_segment) const override {
    std::u32string text = DecodeUtf8(utf8);
    for (char32_t& c : text) {
      if (c == U' ') c = kSpaceSymbol;
    }
    if (first_segment && !text.empty() && vocabulary_.prefix_space != PrefixSpace::kNever) {
      const bool present = text[0] == kSpaceSymbol;
      if (!present || vocabulary_.prefix_space == PrefixSpace::kAlways) {
        text.insert(0, 1, kSpaceSymbol);
      }
    }
    if (vocabulary_.ignore_merges) {
      std::string whole;
      for (const char32_t c : text) AppendUtf8(c, whole);
      const std::optional<int32_t> id = vocabulary_.Find(whole);
      if (id && !vocabulary_.is_special[*id]) return {*id};
    }
    std::vector<int32_t> ids = Symbols(text);
    ApplyMerges(vocabulary_.merges, &ids);
    return ids;
  }

 private:
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
  std::unordered_map<char32_t, int32_t> characters_;  // tokens of one character
  std::array<std::optional<int32_t>, 256> bytes_;     // byte tokens, where bytes are fallen back to
};

}  // namespace

std::unique_ptr<Tokenizer> LoadSentencePieceBpe(const JsonCursor& file) {
  file.ExpectKeys({"format", "format_version", "type", "vocab", "merges", "added_tokens",
                   "special_tokens", "unk_token", "fuse_unk", "ignore_merges", "prefix_space",
                   "byte_fallback", "strip_leading_space"});
  const bool byte_fallback = file.Get("byte_fallback").AsBool();
  const bool strip_leading_space = file.Get("strip_leading_space").AsBool();
  return std::make_unique<SentencePieceBpe>(Vocabulary::Read(file, ""), byte_fallback,
                                            strip_leading_space);
}

}  // namespace g4v
