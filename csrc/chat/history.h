// What the finished turns of a chat leave behind.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "decoder/kv_cache.h"
#include "video/frames.h"
#include "vision/video_encoder.h"

namespace g4v {

// A part of a prompt: ids, or in their place a video, whose tokens have none.
struct Segment {
  std::vector<int32_t> ids;
  std::optional<Frames> video = {};
  // Of a video whose frames have tokens of their own: the texts between them, one fewer than frames.
  std::vector<std::vector<int32_t>> between = {};
};

struct History {
  // Where a turn ends: tokens of the chat up to there, and videos that were generated.
  struct Mark {
    int tokens = 0;
    uint64_t videos = 0;
  };
  // The id of a video's tokens in `ids`.
  static constexpr int32_t kVideoToken = -1;

  std::unique_ptr<KvCache> cache;  // between the turns without the tokens of `pending`
  std::vector<int32_t> ids;        // of the tokens in the cache
  std::vector<Segment> pending;    // belong to finished turns, and are computed with the next one
  std::vector<Mark> marks;         // after the opening, and after each turn
  // Tokens of the videos that the chat was shown, and the turn, from 0.
  struct Encoded {
    VideoTokens tokens;
    size_t turn;
  };
  std::map<std::vector<FrameKey>, Encoded> encoded;
  FrameMemory frames;  // of the last video

  size_t turns() const { return marks.size() - 1; }
  int tokens() const { return marks.back().tokens; }
};

// The number of tokens of a video of so many frames, without the texts between them.
using VideoTokenCount = std::function<int(int64_t frames)>;

int CountTokens(const std::vector<Segment>& segments, const VideoTokenCount& video);

// Drops what comes after the first `tokens` tokens.
void CutSegments(std::vector<Segment>& segments, int tokens, const VideoTokenCount& video);

}  // namespace g4v
