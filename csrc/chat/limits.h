// How much a conversation may take. 0 means no limit, in each of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bundle/manifest.h"
#include "decoder/kv_cache.h"

namespace g4v {

struct Limits {
  // Bytes of the frames of a question's video that are looked at, uint8 RGB. Error(Video) above it.
  uint64_t max_decoded_bytes = uint64_t{1} << 30;
  // Tokens that an answer follows: those of the chat so far and of the question, video tokens among
  // them. Error(ContextFull) above it. The context is a limit in any case.
  int max_prompt_tokens = 0;
  // Bytes of keys and values of one chat, what it shares with forks included. A question that needs
  // more is refused with Error(ContextFull), an answer that comes to it ends ("memory").
  uint64_t max_chat_kv_bytes = 0;
  // Milliseconds from Send to the end of a turn, waiting and videos included. Then the turn ends
  // with Error(DeadlineExceeded), and the chat is as before it.
  int max_turn_ms = 0;
  // Videos that are made of one answer. Captions beyond it are told, and no videos made of them.
  int max_videos = 8;
  // frames x height x width of one video that is made. Error(InvalidArgument) above it.
  uint64_t max_video_pixels = uint64_t{1} << 28;
};

// Throws Error(InvalidArgument) that names a limit out of its range.
void CheckLimits(const Limits& limits);

// The smaller of two limits.
int Tighter(int first, int second);

// Throws Error(ContextFull) where a prompt has more tokens than it may have.
void CheckPromptTokens(const Limits& limits, int64_t tokens);

// Throws Error(ContextFull) where a text is so long that it is not worth tokenizing: it has more than
// 256 bytes for each token that a prompt may have. `what` names it.
void CheckTextBytes(const Limits& limits, int context_length, const char* what, size_t bytes);

bool KvFits(const Limits& limits, const KvCache& cache, int more_tokens);
// Throws Error(ContextFull) where it does not fit.
void CheckKv(const Limits& limits, const KvCache& cache, int more_tokens);

// Throws Error(InvalidArgument) where a video would have more pixels than it may have.
void CheckPixels(const Limits& limits, const VideoGenerationSpec& spec);

}  // namespace g4v
