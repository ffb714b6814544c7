#include "chat/tag_parser.h"

#include <algorithm>
#include <utility>

#include "base/ascii.h"

namespace g4v {
namespace {

void AddText(std::string_view text, std::vector<AnswerPiece>& pieces) {
  if (text.empty()) return;
  if (pieces.empty() || pieces.back().is_caption) pieces.push_back({});
  pieces.back().text += text;
}

}  // namespace

TagParser::TagParser(const std::string& open, const std::string& close)
    : open_{"<video>"}, close_{"</video>"}, starts_("<") {
  for (const auto& [tag, tags] : {std::pair(&open, &open_), std::pair(&close, &close_)}) {
    if (tag->empty()) continue;
    tags->push_back(*tag);
    starts_ += tag->front();
  }
  for (char digit = '0'; digit <= '9'; ++digit) {
    for (const char* name : {"video", "vid"}) {
      open_.push_back(std::string("<") + name + digit + ">");
      close_.push_back(std::string("</") + name + digit + ">");
    }
  }
}

TagParser::Match TagParser::MatchTag(std::string_view rest, size_t& size) const {
  Match match = Match::None;
  size = std::string_view::npos;
  const auto scan = [&](const std::vector<std::string>& tags, Match complete) {
    for (const std::string& tag : tags) {
      if (rest.starts_with(tag)) {
        if (tag.size() >= size) continue;
        match = complete;
        size = tag.size();
      } else if (match == Match::None && std::string_view(tag).starts_with(rest)) {
        match = Match::Partial;
      }
    }
  };
  scan(open_, Match::Open);
  scan(close_, Match::Close);
  return match;
}

void TagParser::Take(std::string_view text, std::vector<AnswerPiece>& pieces) {
  if (inside_) {
    caption_ += text;
  } else {
    AddText(text, pieces);
  }
}

std::vector<AnswerPiece> TagParser::Push(std::string_view text) {
  std::vector<AnswerPiece> pieces;
  held_ += text;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const size_t start = std::min(rest.find_first_of(starts_), rest.size());
    Take(rest.substr(0, start), pieces);
    rest.remove_prefix(start);
    if (rest.empty()) break;
    size_t size = 0;
    const Match match = MatchTag(rest, size);
    if (match == Match::Partial) break;
    if (match == Match::None) {
      Take(rest.substr(0, 1), pieces);
      rest.remove_prefix(1);
      continue;
    }
    rest.remove_prefix(size);
    if (match == Match::Open) {
      inside_ = true;
    } else if (inside_) {
      pieces.push_back({true, std::string(StripWhite(caption_))});
      caption_.clear();
      inside_ = false;
    }
  }
  held_ = std::string(rest);
  return pieces;
}

TagParser::End TagParser::Finish() {
  End end;
  end.unclosed = inside_;
  if (!inside_ && held_ == "<") AddText(held_, end.pieces);
  held_.clear();
  caption_.clear();
  inside_ = false;
  return end;
}

}  // namespace g4v
