#include "text/tokenizer.h"

#include "base/error.h"
#include "base/json.h"
#include "text/byte_level_bpe.h"
#include "text/detokenizer.h"
#include "text/sentencepiece_bpe.h"
#include "text/unicode.h"
#include "text/unigram.h"
#include "text/vocabulary.h"

namespace g4v {
namespace {

constexpr int64_t kFormatVersion = 1;  // FORMAT_VERSION in export/components/tokenizer.py

}  // namespace

std::unique_ptr<Tokenizer> Tokenizer::Load(const std::string& json_text) {
  constexpr const char* kWhat = "tokenizer.json";
  const Json json = ParseJson(json_text, kWhat);
  const JsonCursor file(json, kWhat);
  const auto format = file.value().is_object() ? file.Find("format") : std::nullopt;
  if (!format || !format->value().is_string() || format->AsString() != "g4v-tokenizer") {
    throw Error(Code::Bundle, "tokenizer.json: this is no g4v tokenizer; export the model again.");
  }
  const int64_t version = file.Get("format_version").AsInt();
  if (version != kFormatVersion) {
    throw Error(Code::Bundle, "tokenizer.json: its format version is " + std::to_string(version) +
                                  ", this g4v reads version " + std::to_string(kFormatVersion) +
                                  "; use a g4v that matches the bundle.");
  }
  const JsonCursor type = file.Get("type");
  if (type.AsString() == "byte_level_bpe") return LoadByteLevelBpe(file, "");
  if (type.AsString() == "clip_bpe") return LoadByteLevelBpe(file, "</w>");
  if (type.AsString() == "sentencepiece_bpe") return LoadSentencePieceBpe(file);
  if (type.AsString() == "unigram") return LoadUnigram(file);
  type.Fail("is no tokenizer type that this g4v knows: " + Json(type.AsString()).Dump());
}

Tokenizer::Tokenizer(const Vocabulary& vocabulary, std::unique_ptr<const Detokenizer> detokenizer)
    : detokenizer_(std::move(detokenizer)),
      special_(vocabulary.special.begin(), vocabulary.special.end()) {}

Tokenizer::~Tokenizer() = default;

void Tokenizer::SetAddedTokens(const std::vector<AddedToken>& tokens) {
  for (const AddedToken& token : tokens) {
    if (token.normalized) {
      normalized_tokens_.Add(Normalize(token.content, true), token);
    } else {
      raw_tokens_.Add(token.content, token);
    }
  }
}

std::vector<int32_t> Tokenizer::Encode(std::string_view utf8, bool first_segment) const {
  std::vector<int32_t> ids;
  std::u32string text = DecodeUtf8(utf8);
  if (raw_tokens_.empty() && normalized_tokens_.empty()) {
    EncodeNormalized(Normalize(std::move(text), first_segment), first_segment, &ids);
    return ids;
  }
  for (const AddedTokenFinder::Piece& raw : raw_tokens_.Split(text)) {
    if (raw.id) {
      ids.push_back(*raw.id);
      continue;
    }
    const bool starts_text = raw.start == 0 ? first_segment : spaces_every_piece();
    const std::u32string normal = Normalize(std::u32string(raw.text), starts_text);
    for (const AddedTokenFinder::Piece& piece : normalized_tokens_.Split(normal)) {
      if (piece.id) {
        ids.push_back(*piece.id);
      } else {
        EncodeNormalized(std::u32string(piece.text),
                         piece.start == 0 ? starts_text : spaces_every_piece(), &ids);
      }
    }
  }
  return ids;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  return detokenizer_->Decode(ids, skip_special);
}

std::string_view Tokenizer::TokenBytes(int32_t id) const { return detokenizer_->bytes(id); }

size_t Tokenizer::vocab_size() const { return detokenizer_->vocab_size(); }

std::optional<int32_t> Tokenizer::TokenId(std::string_view special) const {
  for (const auto& [token, id] : special_) {
    if (token == special) return id;
  }
  return std::nullopt;
}

struct StreamDecoder::State : Detokenizer::Stream {};

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer)
    : detokenizer_(tokenizer.detokenizer_.get()), state_(std::make_unique<State>()) {}
StreamDecoder::~StreamDecoder() = default;
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;

std::string StreamDecoder::Push(int32_t id) { return detokenizer_->Push(id, true, state_.get()); }
std::string StreamDecoder::Finish() { return detokenizer_->Finish(state_.get()); }

}  // namespace g4v
