#include "chat/prompt.h"

#include "base/ascii.h"
#include "base/error.h"
#include "base/utf8.h"

namespace g4v {
namespace {

void CheckUtf8(std::string_view text, const std::string& what) {
  if (!IsValidUtf8(text)) throw Error(Code::InvalidArgument, what + " is not valid UTF-8 text");
}

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

}  // namespace

std::vector<int32_t> PromptTemplate::OpeningIds() const {
  std::vector<int32_t> ids;
  if (spec_.bos_id) ids.push_back(*spec_.bos_id);
  const std::vector<int32_t> system = tokenizer_.Encode(spec_.system, true);
  ids.insert(ids.end(), system.begin(), system.end());
  return ids;
}

std::vector<int32_t> PromptTemplate::VideoPrefixIds() const {
  return tokenizer_.Encode(spec_.video_prefix, false);
}

std::vector<int32_t> PromptTemplate::QuestionIds(const std::string& clean_text) const {
  return tokenizer_.Encode(spec_.user_prefix + clean_text + spec_.assistant_prefix, false);
}

std::string CleanUserText(const PromptSpec& spec, std::string_view text) {
  CheckUtf8(text, "the prompt");
  std::string clean = RemoveTags(ReplaceAll(text, "\r\n", "\n"));
  for (const std::string& prefix : {spec.user_prefix, spec.assistant_prefix}) {
    const std::string label(StripWhite(prefix));
    clean = ReplaceAll(clean, "\n" + label, " " + label);
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
