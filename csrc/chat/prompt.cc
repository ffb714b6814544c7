#include "chat/prompt.h"

#include <algorithm>

#include "base/ascii.h"
#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "chat/prompt_words.h"

namespace g4v {
namespace {

std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  size_t start = 0;
  while (true) {
    const size_t found = text.find(from, start);
    result += text.substr(start, found - start);
    if (found == std::string_view::npos) return result;
    result += to;
    start = found + from.size();
  }
}

bool StartsWithVid(std::string_view text) {
  return text.size() >= 3 && LowerAscii(text[0]) == 'v' && LowerAscii(text[1]) == 'i' &&
         LowerAscii(text[2]) == 'd';
}

// Removes the brackets of everything that is or could become a video tag. A run of "<" and "/" that
// holds a "<" and stands directly before "vid" goes, and so do the ">" that directly follow the
// next characters other than "<", ">" and "/".
std::string RemoveTags(std::string_view text) {
  std::string result;
  size_t i = 0;
  while (i < text.size()) {
    const size_t run_end = std::min(text.find_first_not_of("</", i), text.size());
    const std::string_view run = text.substr(i, run_end - i);
    if (run.find('<') == std::string_view::npos || !StartsWithVid(text.substr(run_end))) {
      // Copies the run and the text up to the next one.
      const size_t next = std::min(text.find_first_of("</", run_end), text.size());
      result += text.substr(i, next - i);
      i = next;
      continue;
    }
    const size_t name_end = std::min(text.find_first_of("<>/", run_end), text.size());
    result += text.substr(run_end, name_end - run_end);
    i = std::min(text.find_first_not_of('>', name_end), text.size());
  }
  return result;
}

// The first special token in a text, the longest where several start there.
struct NextSpecial {
  size_t start = 0;  // the text's size where there is none
  size_t size = 0;   // 0: none
  int32_t id = 0;
};

NextSpecial FindSpecial(const std::map<std::string, int32_t>& special, std::string_view text) {
  NextSpecial next{text.size()};
  for (const auto& [token, id] : special) {
    const size_t found = text.find(token);
    if (found == std::string_view::npos) continue;
    if (found < next.start || (found == next.start && token.size() > next.size)) {
      next = {found, token.size(), id};
    }
  }
  return next;
}

bool IsSpecial(const PromptSpec& spec, int32_t id) {
  for (const auto& [text, token] : spec.special_tokens) {
    if (token == id) return true;
  }
  return false;
}

// A text that stands before the words of a speaker, such as "Human:" or "[/INST]".
struct Label {
  std::string text;
  bool opens_line;  // it is one only at the start of a line
};

bool IsSign(char c) { return static_cast<unsigned char>(c) < 0x80 && !IsAlphanumeric(c); }

// The labels that a user could type: those of the template that no special token stands with.
std::vector<Label> LabelsOf(const PromptSpec& spec) {
  std::vector<Label> labels;
  const auto add = [&](std::string_view prefix) {
    const std::string label(StripWhite(prefix));
    if (label.empty() || FindSpecial(spec.special_tokens, label).size > 0) return;
    labels.push_back({label, prefix.front() == '\n' || !IsSign(label.back())});
  };
  if (StripWhite(spec.user_prefix).empty()) {
    // The label of such a template, "<s>[INST] ", stands between the turns.
    std::string_view rest = spec.turn_separator;
    while (true) {
      const NextSpecial next = FindSpecial(spec.special_tokens, rest);
      if (next.size == 0) break;
      rest.remove_prefix(next.start + next.size);
    }
    // A word, as Gemma's "user", is no label without the token before it.
    const std::string_view label = StripWhite(rest);
    if (!label.empty() && IsSign(label.back())) add(rest);
  } else {
    add(spec.user_prefix);
  }
  add(spec.assistant_prefix);
  return labels;
}

// Takes the last character off every occurrence of a label, with those like it that follow.
std::string WithoutLastCharacter(std::string_view text, std::string_view label) {
  std::string result;
  while (true) {
    const size_t found = text.find(label);
    if (found == std::string_view::npos) return result += text;
    const size_t kept = found + label.size() - 1;
    result += text.substr(0, kept);
    text.remove_prefix(std::min(text.find_first_not_of(label.back(), kept), text.size()));
  }
}

}  // namespace

PromptTemplate::PromptTemplate(const PromptSpec& spec, const Tokenizer& tokenizer)
    : spec_(spec), tokenizer_(tokenizer) {
  for (const auto& [text, id] : spec.special_tokens) {
    if (tokenizer.TokenId(text) == id) continue;
    throw Error(Code::Bundle, "g4v.json: prompt.special_tokens: " + Json(text).Dump() +
                                  " is no special token " + std::to_string(id) +
                                  " of the tokenizer; export the bundle again");
  }
}

std::vector<int32_t> PromptTemplate::Encode(std::span<const Part> parts, bool starts_text) const {
  std::vector<int32_t> ids;
  std::string run;
  const auto flush = [&] {
    const std::vector<int32_t> encoded = tokenizer_.Encode(run, starts_text);
    ids.insert(ids.end(), encoded.begin(), encoded.end());
    if (!run.empty()) starts_text = false;
    run.clear();
  };
  for (const Part& part : parts) {
    std::string_view rest = part.text;
    while (part.own && !rest.empty()) {
      const NextSpecial next = FindSpecial(spec_.special_tokens, rest);
      run += rest.substr(0, next.start);
      rest.remove_prefix(next.start);
      if (next.size == 0) break;
      flush();
      ids.push_back(next.id);
      starts_text = spec_.space_after_special.value_or(false);
      rest.remove_prefix(next.size);
    }
    if (!part.own) run += rest;
  }
  flush();
  return ids;
}

std::vector<int32_t> PromptTemplate::OpeningIds(const std::string& system) const {
  std::vector<int32_t> ids;
  if (spec_.bos_id) ids.push_back(*spec_.bos_id);
  if (system.empty()) return ids;
  const bool starts_text =
      !spec_.bos_id || spec_.space_after_bos.value_or(spec_.space_after_special.value_or(true));
  const Part with[] = {{spec_.system_prefix}, {system, false}};
  const std::vector<int32_t> text = Encode(with, starts_text);
  ids.insert(ids.end(), text.begin(), text.end());
  return ids;
}

PromptTemplate::TurnIds PromptTemplate::Turn(const std::string& lead, const std::string& clean_text,
                                             const FrameTimes* video, bool starts_text) const {
  const Part words{clean_text, false};
  if (!video) {
    const Part parts[] = {{lead}, {spec_.user_prefix}, words, {spec_.assistant_prefix}};
    return {{}, {}, Encode(parts, starts_text)};
  }
  const std::string& suffix = spec_.video_suffix ? *spec_.video_suffix : spec_.user_prefix;
  if (!spec_.frame_prefix) {
    const Part before[] = {{lead}, {spec_.video_prefix}};
    const Part after[] = {{suffix}, words, {spec_.assistant_prefix}};
    return {Encode(before, starts_text), {}, Encode(after, spec_.space_after_video)};
  }
  std::vector<std::string> prefixes;
  for (const double second : video->seconds) {
    prefixes.push_back(ReplaceAll(*spec_.frame_prefix, "{timestamp}", Timestamp(second)));
  }
  const auto count = static_cast<int>(prefixes.size());
  std::string intro = ReplaceAll(spec_.video_prefix, "{frame_count}", NumberInWords(count));
  intro = ReplaceAll(intro, "{duration}", Duration(video->duration));
  const Part before[] = {{lead}, {intro}, {prefixes.front()}};
  TurnIds ids{Encode(before, starts_text), {}, {}};
  for (size_t frame = 1; frame < prefixes.size(); ++frame) {
    const Part between[] = {{spec_.frame_suffix}, {prefixes[frame]}};
    ids.between_frames.push_back(Encode(between, spec_.space_after_video));
  }
  const Part after[] = {{spec_.frame_suffix}, {suffix}, words, {spec_.assistant_prefix}};
  ids.after_video = Encode(after, spec_.space_after_video);
  return ids;
}

PromptTemplate::TurnIds PromptTemplate::FirstTurn(const std::string& system,
                                                  const std::string& clean_text,
                                                  const FrameTimes* video) const {
  const std::vector<int32_t> opening = OpeningIds(system);
  bool starts_text = false;
  if (system.empty() && spec_.bos_id && spec_.space_after_bos) {
    starts_text = *spec_.space_after_bos;
  } else if (spec_.space_after_special) {
    if (opening.empty()) {
      starts_text = true;
    } else if (opening.back() == spec_.bos_id || IsSpecial(spec_, opening.back())) {
      starts_text = *spec_.space_after_special;
    }
  }
  return Turn(system.empty() ? spec_.no_system : spec_.system_suffix, clean_text, video,
              starts_text);
}

PromptTemplate::TurnIds PromptTemplate::LaterTurn(const std::string& clean_text,
                                                  const FrameTimes* video) const {
  return Turn(spec_.turn_separator, clean_text, video, spec_.space_after_special.value_or(false));
}

std::vector<int32_t> PromptTemplate::AnswerIds(const std::string& answer) const {
  std::string_view rest = spec_.assistant_prefix;
  bool behind_special = false;
  while (!rest.empty()) {
    const NextSpecial next = FindSpecial(spec_.special_tokens, rest);
    if (next.size == 0) break;
    rest.remove_prefix(next.start + next.size);
    behind_special = rest.empty();
  }
  const Part parts[] = {{spec_.answer_prefix}, {answer, false}, {spec_.answer_suffix}};
  std::vector<int32_t> ids =
      Encode(parts, behind_special && spec_.space_after_special.value_or(false));
  ids.push_back(spec_.turn_end_id);
  return ids;
}

std::vector<int32_t> PromptTemplate::AnswerEndIds() const {
  const Part parts[] = {{spec_.answer_suffix}};
  std::vector<int32_t> ids = Encode(parts, false);
  ids.push_back(spec_.turn_end_id);
  return ids;
}

bool PromptTemplate::EndsAnswer(int32_t token) const {
  return token == spec_.turn_end_id ||
         std::find(spec_.stop_ids.begin(), spec_.stop_ids.end(), token) != spec_.stop_ids.end();
}

std::string CleanUserText(const PromptSpec& spec, std::string_view text) {
  CheckUtf8(text, "the prompt");
  std::string clean = ReplaceAll(text, "\r\n", "\n");
  const std::vector<Label> labels = LabelsOf(spec);
  // What is taken away may leave a tag or a label behind, of what stood around it.
  for (std::string before; clean != before;) {
    before = clean;
    clean = RemoveTags(clean);
    for (const Label& label : labels) {
      clean = label.opens_line ? ReplaceAll(clean, "\n" + label.text, " " + label.text)
                               : WithoutLastCharacter(clean, label.text);
    }
  }
  clean = std::string(StripWhite(clean));
  if (clean.empty()) throw Error(Code::InvalidArgument, "the prompt is empty");
  return clean;
}

std::string CleanText(std::string_view text, const std::string& what) {
  CheckUtf8(text, what);
  const std::string_view clean = StripWhite(text);
  if (clean.empty()) throw Error(Code::InvalidArgument, what + " is empty");
  return std::string(clean);
}

}  // namespace g4v
