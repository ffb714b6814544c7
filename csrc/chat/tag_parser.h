// Separates an answer into text and the captions between video tags, while it streams.
//
// An opening tag is <video>, <video0> .. <video9>, <vid0> .. <vid9> or the bundle's own; a closing
// tag is one of them with a slash. Any closing tag ends any caption. What is not a caption between
// two tags is text:
//   an opening tag inside a caption         is dropped, the caption goes on
//   a closing tag outside a caption         is dropped
//   the end of the answer inside a caption  drops the caption; Finish says so
//   the end of the answer inside a tag      drops the part, unless it is a lone "<"
// How the answer is cut into pieces does not matter: where one tag begins another, the shorter
// counts, which is complete first.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace g4v {

// What an answer says, in order.
struct AnswerPiece {
  bool is_caption = false;
  std::string text;  // never empty for text; a caption is stripped of white space and may be empty
};

class TagParser {
 public:
  TagParser(const std::string& open, const std::string& close);

  std::vector<AnswerPiece> Push(std::string_view text);

  struct End {
    std::vector<AnswerPiece> pieces;
    bool unclosed = false;  // a caption began and did not end
  };
  End Finish();

 private:
  enum class Match { None, Partial, Open, Close };

  // What `rest` begins with; `size` receives the length of a whole tag.
  Match MatchTag(std::string_view rest, size_t& size) const;
  void Take(std::string_view text, std::vector<AnswerPiece>& pieces);

  std::vector<std::string> open_;
  std::vector<std::string> close_;
  std::string starts_;  // the characters that begin a tag
  bool inside_ = false;
  std::string held_;     // may become a tag
  std::string caption_;  // so far
};

}  // namespace g4v
