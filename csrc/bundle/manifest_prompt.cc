// "prompt": the template of a conversation. The writer is PromptTemplate.to_manifest in
// python/g4v/model/prompt.py.
#include "bundle/manifest_reader.h"

namespace g4v::manifest {
namespace {

std::string ReadText(const JsonCursor& object, std::string_view key) {
  const auto found = object.Find(key);
  return found ? found->AsString() : std::string();
}

std::map<std::string, int32_t> ReadSpecialTokens(const JsonCursor& object) {
  std::map<std::string, int32_t> tokens;
  for (const auto& [text, id] : object.Members()) {
    if (text.empty()) object.Fail("has an empty token");
    tokens.emplace(text, static_cast<int32_t>(id.AsInt(0, kMaxId)));
  }
  return tokens;
}

}  // namespace

PromptSpec ReadPrompt(const JsonCursor& cursor) {
  cursor.ExpectKeys({"system",           "system_prefix",     "system_suffix",
                     "no_system",        "video_prefix",      "video_suffix",
                     "frame_prefix",     "frame_suffix",      "user_prefix",
                     "assistant_prefix", "answer_prefix",     "answer_suffix",
                     "turn_separator",   "special_tokens",    "space_after_special",
                     "space_after_bos",  "space_after_video", "bos_id",
                     "turn_end_id",      "stop_ids",          "stop",
                     "video_open",       "video_close",       "refusal_openings"});
  PromptSpec spec;
  spec.system = cursor.Get("system").AsString();
  spec.system_prefix = ReadText(cursor, "system_prefix");
  spec.system_suffix = ReadText(cursor, "system_suffix");
  spec.no_system = ReadText(cursor, "no_system");
  spec.video_prefix = cursor.Get("video_prefix").AsString();
  if (const auto found = cursor.Find("video_suffix")) spec.video_suffix = found->AsString();
  if (const auto found = cursor.Find("frame_prefix")) spec.frame_prefix = found->AsString();
  if (const auto found = cursor.Find("frame_suffix")) {
    spec.frame_suffix = found->AsString();
    if (!spec.frame_prefix) found->Fail("needs \"frame_prefix\" beside it");
  }
  if (const auto found = cursor.Find("answer_prefix")) spec.answer_prefix = found->AsString();
  spec.answer_suffix = ReadText(cursor, "answer_suffix");
  spec.turn_separator = ReadText(cursor, "turn_separator");
  if (const auto found = cursor.Find("special_tokens")) {
    spec.special_tokens = ReadSpecialTokens(*found);
  }
  if (const auto found = cursor.Find("space_after_special")) {
    spec.space_after_special = found->AsBool();
  }
  if (const auto found = cursor.Find("space_after_bos")) spec.space_after_bos = found->AsBool();
  if (const auto found = cursor.Find("space_after_video")) spec.space_after_video = found->AsBool();
  if (const auto found = cursor.Find("stop_ids")) {
    for (const JsonCursor& id : found->Elements()) {
      spec.stop_ids.push_back(static_cast<int32_t>(id.AsInt(0, kMaxId)));
    }
  }
  spec.user_prefix = cursor.Get("user_prefix").AsString();
  spec.assistant_prefix = cursor.Get("assistant_prefix").AsString();
  spec.bos_id = ReadOptionalId(cursor, "bos_id");
  spec.turn_end_id = static_cast<int32_t>(cursor.Get("turn_end_id").AsInt(0, kMaxId));
  spec.stop = cursor.Get("stop").AsStrings();
  spec.video_open = cursor.Get("video_open").AsString();
  spec.video_close = cursor.Get("video_close").AsString();
  if (spec.video_open.empty() || spec.video_close.empty()) cursor.Fail("has an empty video tag");
  spec.refusal_openings = cursor.Get("refusal_openings").AsStrings();
  return spec;
}

}  // namespace g4v::manifest
