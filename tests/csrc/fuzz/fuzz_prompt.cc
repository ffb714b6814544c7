// Prompt templates and the user's words (chat/prompt.h) with a byte-level tokenizer. Words of a
// user give no special token and no video tag, cleaning them twice changes nothing, and the tokens
// of a turn hold the words.
#include <algorithm>

#include "chat/prompt.h"
#include "fuzz.h"
#include "text/detokenizer.h"

using namespace g4v;
using fuzz::Require;

namespace {

constexpr int32_t kStart = 256, kEnd = 257;

// Every byte is a token, and two are special.
std::unique_ptr<Tokenizer> Bytes() {
  Json::Array vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    std::string token;
    AppendUtf8(ByteLevelChar(static_cast<uint8_t>(byte)), token);
    vocabulary.emplace_back(token);
  }
  const Json::Object special = {{"<s>", kStart}, {"</s>", kEnd}};
  const Json::Object file = {
      {"format", "g4v-tokenizer"}, {"format_version", 1},     {"type", "byte_level_bpe"},
      {"vocab", vocabulary},       {"merges", Json::Array()}, {"added_tokens", Json::Object()},
      {"special_tokens", special}, {"unk_token", Json()},     {"fuse_unk", false},
      {"ignore_merges", false},    {"prefix_space", "never"}, {"normalizer", "none"},
      {"pre_tokenizer", "none"}};
  return Tokenizer::Load(Json(file).Dump());
}

bool HasTag(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  return text.find("<vid") != text.npos || text.find("</vid") != text.npos;
}

// The labels of a speaker that a line could open with.
bool HasLabel(const std::string& text, const PromptSpec& spec) {
  for (const std::string* label : {&spec.user_prefix, &spec.assistant_prefix}) {
    if (label->size() > 2 && label->starts_with("\n") && label->ends_with(":") &&
        text.find(*label) != text.npos) {
      return true;
    }
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::unique_ptr<Tokenizer> tokenizer = Bytes();
  fuzz::Input input(data, size);
  PromptSpec spec;
  if (input.Coin()) spec.bos_id = kStart;
  if (input.Coin()) spec.space_after_special = input.Coin();
  spec.special_tokens = {{"<s>", kStart}, {"</s>", input.Take<uint8_t>() == 255 ? kStart : kEnd}};
  spec.turn_end_id = kEnd;
  for (std::string* text :
       {&spec.system, &spec.system_prefix, &spec.system_suffix, &spec.no_system, &spec.video_prefix,
        &spec.user_prefix, &spec.assistant_prefix, &spec.answer_suffix, &spec.turn_separator}) {
    *text = input.Text();
    if (!IsValidUtf8(*text)) return 0;  // of g4v.json, which is checked before
  }
  const bool video = input.Coin();
  std::string clean;
  const std::string words(input.Rest());
  const bool accepted =
      fuzz::Accepts({Code::InvalidArgument}, [&] { clean = CleanUserText(spec, words); });
  if (!accepted) return 0;
  Require(IsValidUtf8(clean) && !clean.empty(), "cleaned words are text");
  Require(!HasTag(clean), "no tag is left in: " + clean);
  Require(clean.find('\r') != clean.npos || CleanUserText(spec, clean) == clean,
          "cleaning again changes nothing: " + clean);
  Require(!HasLabel(clean, spec), "no label of a speaker is left in: " + clean);
  PromptTemplate::TurnIds turn;
  std::vector<int32_t> opening;
  const bool made = fuzz::Accepts({Code::Bundle}, [&] {
    const PromptTemplate prompt(spec, *tokenizer);
    opening = prompt.OpeningIds(spec.system);
    const FrameTimes times = TimesAtRate(2, kAssumedRate);
    const FrameTimes* const frames = video ? &times : nullptr;
    turn = input.Coin() ? prompt.FirstTurn(spec.system, clean, frames)
                        : prompt.LaterTurn(clean, frames);
    Require(prompt.AnswerEndIds().back() == kEnd && prompt.EndsAnswer(kEnd), "an answer ends");
  });
  if (!made) return 0;
  Require(turn.before_video.empty() == (!video || turn.before_video.empty()),
          "without a video nothing is before it");
  const std::string text = tokenizer->Decode(turn.after_video);
  Require(text.find(clean) != text.npos, "a turn holds the user's words");
  const auto special = std::count_if(turn.after_video.begin(), turn.after_video.end(),
                                     [](int32_t id) { return id == kStart || id == kEnd; });
  const auto of_template = [&](const std::string& part) {
    std::string_view rest = part;
    long count = 0;
    for (size_t at = 0; at < rest.size(); ++at) {
      count += rest.substr(at).starts_with("<s>") || rest.substr(at).starts_with("</s>");
    }
    return count;
  };
  const long most = of_template(spec.user_prefix) + of_template(spec.assistant_prefix) +
                    of_template(spec.turn_separator) + of_template(spec.no_system) +
                    of_template(spec.system_suffix);
  Require(special <= most, "special tokens are the template's own");
  return 0;
}
