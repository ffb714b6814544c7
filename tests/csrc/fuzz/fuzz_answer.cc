// Tags, stop strings and refusals of an answer (chat/answer.h, chat/tag_parser.h). How the text is
// cut into pieces does not matter; a stop string is the first that is complete, as a plain search
// finds it.
#include <algorithm>
#include <optional>
#include <vector>

#include "chat/answer.h"
#include "fuzz.h"

using namespace g4v;
using fuzz::Require;

namespace {

// Texts as they are, captions in brackets; where texts are cut does not matter.
struct Said {
  std::vector<std::string> parts;
  bool text_last = false;

  void Add(const std::vector<AnswerPiece>& pieces) {
    for (const AnswerPiece& piece : pieces) {
      Require(piece.is_caption || !piece.text.empty(), "a text is never empty");
      if (piece.is_caption || !text_last) parts.emplace_back();
      parts.back() += piece.is_caption ? "[" + piece.text + "]" : piece.text;
      text_last = !piece.is_caption;
    }
  }
};

// Calls take(piece) with the text in pieces whose sizes `cuts` gives, over and over.
template <class Take>
void InPieces(std::string_view text, std::string_view cuts, const Take& take) {
  for (size_t i = 0; !text.empty(); ++i) {
    const size_t size =
        cuts.empty() ? text.size() : 1 + static_cast<unsigned char>(cuts[i % cuts.size()]) % 9;
    take(text.substr(0, size));
    text.remove_prefix(std::min(size, text.size()));
  }
}

std::vector<std::string> Tags(const std::string& open, const std::string& close,
                              std::string_view text, std::string_view cuts) {
  TagParser parser(open, close);
  Said said;
  InPieces(text, cuts, [&](std::string_view piece) { said.Add(parser.Push(piece)); });
  const TagParser::End end = parser.Finish();
  said.Add(end.pieces);
  said.parts.push_back(end.unclosed ? "unclosed" : "closed");
  return said.parts;
}

std::string BeforeStop(const std::vector<std::string>& stops, std::string_view text,
                       std::string_view cuts, bool* stopped) {
  StopMatcher matcher(stops);
  std::string out;
  InPieces(text, cuts, [&](std::string_view piece) { out += matcher.Push(piece); });
  out += matcher.Finish();
  Require(matcher.released() == out.size(), "what was returned is counted");
  *stopped = matcher.stopped();
  return out;
}

// Byte by byte: the text before the first stop string that is complete, the longest where several
// end there.
std::string PlainSearch(const std::vector<std::string>& stops, const std::string& text,
                        bool* stopped) {
  for (size_t end = 1; end <= text.size(); ++end) {
    const std::string_view seen = std::string_view(text).substr(0, end);
    std::optional<size_t> start;
    for (const std::string& stop : stops) {
      if (stop.empty() || !seen.ends_with(stop)) continue;
      start = std::min(start.value_or(end), end - stop.size());
    }
    if (!start) continue;
    *stopped = true;
    return text.substr(0, *start);
  }
  *stopped = false;
  return text;
}

std::string Joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += "\n  " + part;
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const std::string open = input.Text(), close = input.Text(), cuts = input.Text();
  const std::vector<std::string> stops = {input.Text(), input.Text()};
  const std::string text(input.Rest());

  const auto whole = Tags(open, close, text, ""), cut = Tags(open, close, text, cuts);
  Require(whole == cut,
          "pieces do not matter to tags: " + Joined(whole) + "\n and in pieces" + Joined(cut));
  if (text.find_first_of("<" + open.substr(0, 1) + close.substr(0, 1)) == text.npos &&
      !text.empty()) {
    Require(whole == std::vector<std::string>{text, "closed"},
            "a text without tags stays as it is");
  }
  bool expected = false, found = false;
  const std::string wanted = PlainSearch(stops, text, &expected);
  for (const std::string& sizes : {std::string(), cuts}) {
    const std::string before = BeforeStop(stops, text, sizes, &found);
    Require(before == wanted && found == expected,
            "stop strings: \"" + before + "\", not \"" + wanted + "\"");
  }
  return 0;
}
