#include "text/added_tokens.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "text/unicode.h"

namespace g4v {

std::vector<AddedToken> ReadAddedTokens(const JsonCursor& file, Vocabulary* vocabulary) {
  std::vector<AddedToken> added;
  const std::optional<JsonCursor> list = file.Find("text_tokens");
  if (!list) return added;
  std::unordered_map<std::string, int32_t> ids;
  for (size_t id = 0; id < vocabulary->tokens.size(); ++id) {
    if (vocabulary->tokens[id]) ids.emplace(*vocabulary->tokens[id], static_cast<int32_t>(id));
  }
  for (const JsonCursor& entry : list->Elements()) {
    entry.ExpectKeys({"content", "decodes_to", "normalized", "lstrip", "rstrip"});
    const JsonCursor content = entry.Get("content");
    const auto found = ids.find(content.AsString());
    if (content.AsString().empty() || found == ids.end()) content.Fail("is no token of this file");
    const auto id = static_cast<size_t>(found->second);
    vocabulary->tokens[id] = entry.Get("decodes_to").AsString();
    added.push_back({DecodeUtf8(content.AsString()), found->second, vocabulary->is_special[id],
                     entry.Get("normalized").AsBool(), entry.Get("lstrip").AsBool(),
                     entry.Get("rstrip").AsBool()});
  }
  return added;
}

void AddedTokenFinder::Add(std::u32string pattern, const AddedToken& token) {
  if (pattern.empty()) return;
  std::vector<Pattern>& same = patterns_[pattern[0]];
  const auto place = std::find_if(same.begin(), same.end(), [&](const Pattern& other) {
    return other.text.size() < pattern.size();
  });
  same.insert(place, {std::move(pattern), token});
}

const AddedTokenFinder::Pattern* AddedTokenFinder::LongestAt(std::u32string_view text,
                                                             size_t start) const {
  const auto found = patterns_.find(text[start]);
  if (found == patterns_.end()) return nullptr;
  for (const Pattern& pattern : found->second) {
    if (text.substr(start).starts_with(pattern.text)) return &pattern;
  }
  return nullptr;
}

std::vector<AddedTokenFinder::Piece> AddedTokenFinder::Split(std::u32string_view text) const {
  std::vector<Piece> pieces;
  const auto is_space = [&](size_t i) { return (ClassOf(text[i]) & kSpace) != 0; };
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const Pattern* pattern = LongestAt(text, at);
    if (!pattern) {
      ++at;
      continue;
    }
    size_t start = at;
    size_t stop = at + pattern->text.size();
    at = stop;
    if (pattern->token.special) continue;
    while (pattern->token.strip_left && start > done && is_space(start - 1)) --start;
    while (pattern->token.strip_right && stop < text.size() && is_space(stop)) ++stop;
    if (done < start) pieces.push_back({std::nullopt, text.substr(done, start - done), done});
    pieces.push_back({pattern->token.id, {}, start});
    done = stop;
  }
  if (done < text.size()) pieces.push_back({std::nullopt, text.substr(done), done});
  return pieces;
}

}  // namespace g4v
