#include "chat/history.h"

#include <algorithm>

namespace g4v {
namespace {

int TokensOf(const Segment& segment, const VideoTokenCount& video) {
  if (!segment.video) return static_cast<int>(segment.ids.size());
  int count = video(segment.video->count);
  for (const std::vector<int32_t>& text : segment.between) count += static_cast<int>(text.size());
  return count;
}

}  // namespace

int CountTokens(const std::vector<Segment>& segments, const VideoTokenCount& video) {
  int count = 0;
  for (const Segment& segment : segments) count += TokensOf(segment, video);
  return count;
}

void CutSegments(std::vector<Segment>& segments, int tokens, const VideoTokenCount& video) {
  size_t kept = 0;
  for (; kept < segments.size() && tokens > 0; ++kept) {
    const int here = TokensOf(segments[kept], video);
    // Turns never end within a video.
    if (here > tokens) segments[kept].ids.resize(static_cast<size_t>(tokens));
    tokens -= std::min(tokens, here);
  }
  segments.resize(kept);
}

}  // namespace g4v
