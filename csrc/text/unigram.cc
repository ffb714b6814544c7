#include "text/unigram.h"

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "text/charsmap.h"
#include "text/detokenizer.h"
#include "text/prefix_index.h"
#include "text/vocabulary.h"

namespace g4v {
namespace {

constexpr std::string_view kSpacePiece = "\u2581";
constexpr float kUnknownPenalty = 10.0f;   // of SentencePiece: below the lowest score
constexpr float kUserDefinedBonus = 0.1f;  // of SentencePiece 0.2.3: for each byte but the first
constexpr size_t kMostPieceBytes = 1024;   // bounds the work for each character of a text

// What SentencePiece's NormalizerSpec and TrainerSpec say of white space.
struct Whitespace {
  bool add_dummy_prefix;
  bool remove_extra;
  bool escape;
  bool as_suffix;
};

// Bytes of the character that begins with `lead`, as SentencePiece counts them.
size_t CharacterLength(char lead) {
  const auto high = static_cast<unsigned char>(lead) >> 4;
  return high < 12 ? 1 : high < 14 ? 2 : high == 14 ? 3 : 4;
}

struct Pieces {
  enum class Kind : uint8_t { kReserved, kNormal, kUserDefined, kUnused };
  std::vector<Kind> kinds;    // by id; the reserved ones no text turns into
  std::vector<float> scores;  // by id
};

class Unigram final : public Tokenizer {
 public:
  Unigram(Vocabulary vocabulary, Pieces pieces, CharsMap map, Whitespace whitespace,
          bool byte_fallback)
      : Tokenizer(vocabulary, std::make_unique<Detokenizer>(vocabulary, Spelling::kSentencePiece,
                                                            whitespace.add_dummy_prefix)),
        vocabulary_(std::move(vocabulary)),
        pieces_(std::move(pieces)),
        map_(std::move(map)),
        whitespace_(whitespace),
        byte_fallback_(byte_fallback) {
    std::vector<std::pair<std::string_view, int32_t>> all, user_defined;
    float lowest = FLT_MAX;
    for (size_t id = 0; id < pieces_.kinds.size(); ++id) {
      const Pieces::Kind kind = pieces_.kinds[id];
      if (kind == Pieces::Kind::kReserved || kind == Pieces::Kind::kUnused) continue;
      all.emplace_back(*vocabulary_.tokens[id], static_cast<int32_t>(id));
      if (kind == Pieces::Kind::kUserDefined) user_defined.push_back(all.back());
      if (kind != Pieces::Kind::kNormal) continue;
      lowest = std::min(lowest, pieces_.scores[id]);
    }
    unknown_score_ = lowest - kUnknownPenalty;
    index_ = PrefixIndex(std::move(all));
    user_defined_ = PrefixIndex(std::move(user_defined));
    for (int byte = 0; byte_fallback && byte < 256; ++byte) {
      bytes_[byte] = *vocabulary_.Find(ByteFallbackToken(static_cast<uint8_t>(byte)));
    }
  }

 private:
  // The best way to write the text up to some place.
  struct Best {
    size_t start = SIZE_MAX;  // of its last piece; none: no way yet
    float score = 0.0f;
    int32_t id = 0;
  };

  // The text is normalised with the white space around it, by the bytes, in the next step.
  std::u32string Normalize(std::u32string text, bool) const override { return text; }
  bool spaces_every_piece() const override { return true; }

  void EncodeNormalized(std::u32string text, bool starts_text,
                        std::vector<int32_t>* ids) const override {
    std::string utf8;
    utf8.reserve(text.size());
    for (const char32_t c : text) AppendUtf8(c, utf8);
    const std::string normal = Spell(utf8, starts_text);
    AppendBestPath(normal, BestPaths(normal), ids);
  }

  // What the text begins with, normalised, and the bytes that are read for it.
  CharsMap::Match NextCharacter(std::string_view text) const {
    size_t length = 0;
    user_defined_.ForEachPrefix(text, [&](size_t found, int32_t) { length = found; });
    if (length > 0) return {length, text.substr(0, length)};
    const CharsMap::Match match = map_.Longest(text);
    if (match.length > 0) return match;
    uint32_t code_point = 0;
    length = ReadUtf8(text, 0, &code_point);
    // A rule may have ended within a character.
    return length == 0 ? CharsMap::Match{1, "\uFFFD"}
                       : CharsMap::Match{length, text.substr(0, length)};
  }

  // SentencePiece's Normalizer::Normalize.
  std::string Spell(std::string_view text, bool starts_text) const {
    std::string out;
    while (whitespace_.remove_extra && !text.empty()) {
      const CharsMap::Match next = NextCharacter(text);
      if (next.replacement != " ") break;
      text.remove_prefix(next.length);
    }
    if (text.empty()) return out;
    const std::string_view space = whitespace_.escape ? kSpacePiece : " ";
    const bool add_space = whitespace_.add_dummy_prefix && starts_text;
    if (add_space && !whitespace_.as_suffix) out += space;
    bool after_space = whitespace_.remove_extra;
    while (!text.empty()) {
      const CharsMap::Match next = NextCharacter(text);
      text.remove_prefix(next.length);
      std::string_view part = next.replacement;
      while (after_space && part.starts_with(' ')) part.remove_prefix(1);
      if (part.empty()) continue;
      for (const char c : part) {
        if (c == ' ') {
          out += space;
        } else {
          out += c;
        }
      }
      after_space = whitespace_.remove_extra && part.ends_with(' ');
    }
    while (whitespace_.remove_extra && out.ends_with(space)) out.resize(out.size() - space.size());
    if (add_space && whitespace_.as_suffix) out += space;
    return out;
  }

  // SentencePiece's EncodeOptimized. Its sums are float32, and the first of equal ones stays: which
  // of "aa a" and "a aa" it is depends on the rounding of each sum.
  std::vector<Best> BestPaths(std::string_view text) const {
    std::vector<Best> best(text.size() + 1);
    const auto offer = [&best](size_t stop, size_t start, float score, int32_t id) {
      Best& place = best[stop];
      if (place.start != SIZE_MAX && !(score > place.score)) return;
      place = {start, score, id};
    };
    for (size_t start = 0; start < text.size();) {
      const size_t character = std::min(CharacterLength(text[start]), text.size() - start);
      const float so_far = best[start].score;
      bool known = false;
      index_.ForEachPrefix(text.substr(start), [&](size_t length, int32_t id) {
        const bool user_defined = pieces_.kinds[id] == Pieces::Kind::kUserDefined;
        const float score = user_defined ? kUserDefinedBonus * (static_cast<float>(length) - 1)
                                         : pieces_.scores[id];
        offer(start + length, start, score + so_far, id);
        if (length == character) known = true;
      });
      if (!known) offer(start + character, start, unknown_score_ + so_far, *vocabulary_.unknown);
      start += character;
    }
    return best;
  }

  void AppendBestPath(std::string_view text, const std::vector<Best>& best,
                      std::vector<int32_t>* ids) const {
    std::vector<size_t> stops;
    for (size_t stop = text.size(); stop > 0; stop = best[stop].start) stops.push_back(stop);
    bool after_unknown = false;
    for (size_t i = stops.size(); i-- > 0;) {
      const Best& piece = best[stops[i]];
      const bool unknown = piece.id == *vocabulary_.unknown;
      if (unknown && byte_fallback_) {
        for (size_t at = piece.start; at < stops[i]; ++at) {
          ids->push_back(bytes_[static_cast<unsigned char>(text[at])]);
        }
      } else if (!unknown || !after_unknown) {  // a run of unknown characters is one token
        ids->push_back(piece.id);
      }
      after_unknown = unknown;
    }
  }

  Vocabulary vocabulary_;
  Pieces pieces_;
  CharsMap map_;
  Whitespace whitespace_;
  bool byte_fallback_;
  PrefixIndex index_;
  PrefixIndex user_defined_;
  float unknown_score_ = 0.0f;
  std::array<int32_t, 256> bytes_{};  // byte tokens, where bytes are fallen back to
};

std::vector<float> ReadScores(const JsonCursor& list, size_t count) {
  const auto elements = list.Elements();
  if (elements.size() != count) list.Fail("must have a score for each token of \"vocab\"");
  std::vector<float> scores;
  scores.reserve(count);
  for (const JsonCursor& element : elements) {
    const double score = element.AsDouble();
    // The sum of a long text stays finite.
    if (!(std::fabs(score) <= 1e9)) element.Fail("is out of range");
    scores.push_back(static_cast<float>(score));
  }
  return scores;
}

void Mark(const JsonCursor& list, Pieces::Kind kind, std::vector<Pieces::Kind>* kinds) {
  for (const JsonCursor& element : list.Elements()) {
    const int64_t id = element.AsInt(0);
    if (id >= static_cast<int64_t>(kinds->size()) || (*kinds)[id] != Pieces::Kind::kNormal) {
      element.Fail("is no id of a token of \"vocab\" that is neither special nor a byte");
    }
    (*kinds)[id] = kind;
  }
}

Pieces ReadPieces(const JsonCursor& file, const Vocabulary& vocabulary, bool byte_fallback) {
  const size_t count = file.Get("vocab").value().AsArray().size();
  Pieces pieces{std::vector(count, Pieces::Kind::kNormal), ReadScores(file.Get("scores"), count)};
  for (size_t id = 0; id < count; ++id) {
    if (!vocabulary.tokens[id] || vocabulary.is_special[id]) {
      pieces.kinds[id] = Pieces::Kind::kReserved;
    } else if (vocabulary.tokens[id]->empty()) {
      file.Get("vocab").Fail("holds an empty token");
    } else if (vocabulary.tokens[id]->size() > kMostPieceBytes) {
      file.Get("vocab").Fail("holds a token of more than " + std::to_string(kMostPieceBytes) +
                             " bytes");
    }
  }
  for (int byte = 0; byte_fallback && byte < 256; ++byte) {
    const auto id = vocabulary.Find(ByteFallbackToken(static_cast<uint8_t>(byte)));
    if (!id || vocabulary.is_special[*id]) {
      file.Get("byte_fallback").Fail("is true, and the vocabulary lacks a token for some byte");
    }
    pieces.kinds[*id] = Pieces::Kind::kReserved;
  }
  Mark(file.Get("user_defined"), Pieces::Kind::kUserDefined, &pieces.kinds);
  Mark(file.Get("unused"), Pieces::Kind::kUnused, &pieces.kinds);
  return pieces;
}

}  // namespace

std::unique_ptr<Tokenizer> LoadUnigram(const JsonCursor& file) {
  file.ExpectKeys({"format", "format_version", "type", "vocab", "scores", "special_tokens",
                   "unk_token", "user_defined", "unused", "byte_fallback", "precompiled_charsmap",
                   "add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces",
                   "treat_whitespace_as_suffix"});
  const bool byte_fallback = file.Get("byte_fallback").AsBool();
  const Whitespace whitespace = {
      file.Get("add_dummy_prefix").AsBool(), file.Get("remove_extra_whitespaces").AsBool(),
      file.Get("escape_whitespaces").AsBool(), file.Get("treat_whitespace_as_suffix").AsBool()};
  Vocabulary vocabulary = Vocabulary::ReadTokens(file);
  if (!vocabulary.unknown) file.Get("unk_token").Fail("is null, and the type unigram needs one");
  if (!vocabulary.is_special[*vocabulary.unknown]) {
    file.Get("unk_token").Fail("is not among \"special_tokens\"");
  }
  Pieces pieces = ReadPieces(file, vocabulary, byte_fallback);
  return std::make_unique<Unigram>(std::move(vocabulary), std::move(pieces),
                                   CharsMap::Read(file.Get("precompiled_charsmap")), whitespace,
                                   byte_fallback);
}

}  // namespace g4v
