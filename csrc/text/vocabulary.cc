#include "text/vocabulary.h"

#include <algorithm>
#include <utility>

namespace g4v {
namespace {

// Far above any model; bounds what a bad file allocates.
constexpr int64_t kMaxVocabulary = 1 << 22;

std::string Quoted(const std::string& token) { return Json(token).Dump(); }

void ReadTokens(const JsonCursor& list, Vocabulary* out) {
  const Json::Array& tokens = list.value().is_array() ? list.value().AsArray() : Json::Array{};
  if (tokens.empty()) list.Fail("is no list of tokens");
  if (tokens.size() > kMaxVocabulary) list.Fail("has too many tokens");
  out->tokens.resize(tokens.size());
  out->ids.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].is_null()) continue;
    if (!tokens[id].is_string()) list.Fail("holds something other than strings and nulls");
    const std::string& token = tokens[id].AsString();
    if (!out->ids.emplace(token, static_cast<int32_t>(id)).second) {
      list.Fail("holds the token " + Quoted(token) + " twice");
    }
    out->tokens[id] = token;
  }
}

void ReadAddedTokens(const JsonCursor& object, bool special, Vocabulary* out) {
  for (const auto& [token, cursor] : object.Members()) {
    const auto id = static_cast<size_t>(cursor.AsInt(0, kMaxVocabulary - 1));
    if (id >= out->tokens.size()) out->tokens.resize(id + 1);
    if (out->tokens[id] && *out->tokens[id] != token) {
      cursor.Fail("has the id of another token, " + Quoted(*out->tokens[id]));
    }
    const auto model = out->ids.find(token);
    if (model != out->ids.end() && model->second != static_cast<int32_t>(id)) {
      cursor.Fail("is not the id that the vocabulary gives to this token");
    }
    out->tokens[id] = token;
    if (out->is_special.size() < out->tokens.size()) out->is_special.resize(out->tokens.size());
    if (!special) continue;
    out->is_special[id] = true;
    out->special.emplace(token, static_cast<int32_t>(id));
  }
}

void ReadMerges(const JsonCursor& list, Vocabulary* out) {
  if (!list.value().is_array()) list.Fail("is no list");
  const Json::Array& flat = list.value().AsArray();
  if (flat.size() % 2 != 0) list.Fail("has an odd length");
  out->merges = MergeTable(flat.size() / 2);
  const auto token_at = [&](size_t i) {
    const int64_t id = flat[i].type() == Json::Type::Int ? flat[i].AsInt() : -1;
    if (id < 0 || id >= static_cast<int64_t>(out->tokens.size()) || !out->tokens[id]) {
      list.Fail("holds something that is no token id, at index " + std::to_string(i));
    }
    return static_cast<int32_t>(id);
  };
  for (size_t i = 0; i < flat.size(); i += 2) {
    const int32_t left = token_at(i), right = token_at(i + 1);
    const std::string joined = *out->tokens[left] + *out->tokens[right];
    const std::optional<int32_t> id = out->Find(joined);
    if (!id) list.Fail("make " + Quoted(joined) + ", which is no token");
    if (out->is_special[*id]) continue;
    out->merges.Insert(left, right, {static_cast<uint32_t>(i / 2), *id});
  }
}

}  // namespace

std::optional<int32_t> Vocabulary::Find(const std::string& token) const {
  const auto found = ids.find(token);
  if (found == ids.end()) return std::nullopt;
  return found->second;
}

Vocabulary Vocabulary::ReadTokens(const JsonCursor& file) {
  Vocabulary out;
  g4v::ReadTokens(file.Get("vocab"), &out);
  out.is_special.resize(out.tokens.size());
  if (const auto added = file.Find("added_tokens")) ReadAddedTokens(*added, false, &out);
  ReadAddedTokens(file.Get("special_tokens"), true, &out);
  const JsonCursor unknown = file.Get("unk_token");
  if (!unknown.value().is_null()) {
    out.unknown = out.Find(unknown.AsString());
    if (!out.unknown) unknown.Fail("is not in the vocabulary");
  }
  return out;
}

Vocabulary Vocabulary::Read(const JsonCursor& file, std::string word_suffix) {
  file.Get("added_tokens");  // is needed
  Vocabulary out = ReadTokens(file);
  out.word_suffix = std::move(word_suffix);
  ReadMerges(file.Get("merges"), &out);
  out.fuse_unknown = file.Get("fuse_unk").AsBool();
  out.ignore_merges = file.Get("ignore_merges").AsBool();
  const JsonCursor prefix = file.Get("prefix_space");
  if (prefix.AsString() == "always") {
    out.prefix_space = PrefixSpace::kAlways;
  } else if (prefix.AsString() == "unless_present") {
    out.prefix_space = PrefixSpace::kUnlessPresent;
  } else if (prefix.AsString() != "never") {
    prefix.Fail("is none of never, always, unless_present");
  }
  return out;
}

}  // namespace g4v
