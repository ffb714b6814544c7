// Tags, stop strings and refusals of a streaming answer.
#include <random>

#include "chat/answer.h"
#include "chat/tag_parser.h"
#include "check.h"

namespace g4v {
namespace {

using Pieces = std::vector<std::string>;  // texts, captions in square brackets

void Add(const std::vector<AnswerPiece>& from, Pieces& to) {
  for (const AnswerPiece& piece : from) {
    CHECK(piece.is_caption || !piece.text.empty());
    if (piece.is_caption) {
      to.push_back("[" + piece.text + "]");
    } else if (to.empty() || to.back().front() == '[') {
      to.push_back(piece.text);
    } else {
      to.back() += piece.text;  // where texts are cut does not matter
    }
  }
}

// `cuts` holds the lengths of the chunks; the rest comes in one.
Pieces Parse(const std::string& text, const std::vector<size_t>& cuts = {}) {
  TagParser parser("<video>", "</video>");
  Pieces pieces;
  size_t start = 0;
  for (const size_t cut : cuts) {
    Add(parser.Push(text.substr(start, cut)), pieces);
    start = std::min(text.size(), start + cut);
  }
  Add(parser.Push(text.substr(start)), pieces);
  const TagParser::End end = parser.Finish();
  Add(end.pieces, pieces);
  if (end.unclosed) pieces.push_back("[unclosed");
  return pieces;
}

void TestTags() {
  const std::vector<std::pair<std::string, Pieces>> cases = {
      {"plain", {"plain"}},
      {"", {}},
      {"a <video>b</video> c", {"a ", "[b]", " c"}},
      {"<video0> b\n</video0>", {"[b]"}},
      {"<vid3>b</vid3><video9>c</video9>", {"[b]", "[c]"}},
      {"<video1>b</video>", {"[b]"}},                                // any closing tag
      {"<video>a <video>b</video> c</video> d", {"[a b]", " c d"}},  // nested
      {"a</video>b", {"ab"}},                                        // stray
      {"<video></video>", {"[]"}},
      {"<video>never", {"[unclosed"}},
      {"<video>never</vid", {"[unclosed"}},
      {"a <vide", {"a "}},
      {"a </", {"a "}},
      {"1 <", {"1 <"}},
      {"1 < 2 <b> <3", {"1 < 2 <b> <3"}},
      {"<<video>>a</video>>", {"<", "[>a]", ">"}},
      {"<Video>a</Video>", {"<Video>a</Video>"}},  // another tag
      {"<vid>a", {"<vid>a"}},
      {"<video>a < b</video>", {"[a < b]"}},
  };
  for (const auto& [text, expected] : cases) {
    const Pieces found = Parse(text);
    CHECK(found == expected);
    if (found != expected) {
      for (const std::string& piece : found) std::cerr << "  " << text << ": " << piece << "\n";
    }
  }
}

void TestAnyChunksGiveTheSame() {
  const std::vector<std::string> parts = {"<video>", "</video>", "<vid1>", "</vid1>", "<",
                                          ">",       "/",        "vid",    "eo",      "7",
                                          " ",       "a",        "</",     "é"};
  std::mt19937 random(1);
  const auto below = [&](size_t limit) { return random() % limit; };
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (size_t n = below(14); n > 0; --n) text += parts[below(parts.size())];
    const Pieces whole = Parse(text);
    std::vector<size_t> cuts;
    for (size_t n = below(12); n > 0; --n) cuts.push_back(below(5));
    const Pieces cut = Parse(text, cuts);
    CHECK(cut == whole);
    for (const std::string& piece : whole) {
      for (const char* tag : {"<video>", "</video>", "<vid1>", "</vid1>", "<video7>"}) {
        CHECK(piece.find(tag) == std::string::npos);
      }
    }
    if (test::failures > 0) {
      std::cerr << "  text: " << text << "\n";
      return;
    }
  }
}

// The bundle's own tags may begin another one: the shorter counts, in whatever pieces it comes.
void TestTagsThatBeginATag() {
  for (const std::vector<std::string>& text : {std::vector<std::string>{"<video>a</video>"},
                                               std::vector<std::string>{"<video>a</vid", "eo>"}}) {
    TagParser parser("<video>\n", "</vid");
    Pieces pieces;
    for (const std::string& piece : text) Add(parser.Push(piece), pieces);
    Add(parser.Finish().pieces, pieces);
    CHECK((pieces == Pieces{"[a]", "eo>"}));
  }
}

void TestStops() {
  {
    StopMatcher stop({"\nHuman:", "END"});
    CHECK(stop.Push("Hello\nHu") == "Hello");
    CHECK(stop.Push("go\n") == "\nHugo");
    CHECK(!stop.stopped());
    CHECK(stop.Push("Human") == "");
    CHECK(stop.Push(": more") == "");
    CHECK(stop.stopped() && stop.released() == 10);
    CHECK(stop.Push("more") == "" && stop.Finish() == "");
  }
  {
    StopMatcher stop({"\nHuman:", "END"});
    CHECK(stop.Push("a EN") == "a ");
    CHECK(stop.Finish() == "EN" && !stop.stopped());
  }
  {
    StopMatcher stop({"END", "ab"});
    CHECK(stop.Push("xENDab") == "x" && stop.stopped());  // the first one counts
  }
  {  // which is the first that is complete, in whatever pieces it comes
    StopMatcher whole({"bcd", "abcde"}), pieces({"bcd", "abcde"});
    CHECK(whole.Push("abcde") == "a" && whole.stopped());
    CHECK(pieces.Push("abcd") == "a" && pieces.Push("e") == "" && pieces.stopped());
    StopMatcher longest({"top", "stop"});
    CHECK(longest.Push("a stop") == "a ");
  }
  {
    StopMatcher stop({""});
    CHECK(stop.Push("text") == "text" && !stop.stopped());
  }
  {
    StopMatcher stop({"aab"});
    CHECK(stop.Push("aa") == "" && stop.Push("a") == "a" && stop.Push("b") == "" && stop.stopped());
  }
}

}  // namespace
}  // namespace g4v

int main() {
  g4v::TestTags();
  g4v::TestAnyChunksGiveTheSame();
  g4v::TestTagsThatBeginATag();
  g4v::TestStops();
  return g4v::test::Finish();
}
