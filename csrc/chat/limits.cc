#include "chat/limits.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "base/option.h"

namespace g4v {

void CheckLimits(const Limits& limits) {
  CheckRange(kMaxPromptTokens, limits.max_prompt_tokens);
  CheckRange(kMaxTurnMs, limits.max_turn_ms);
  CheckRange(kMaxVideos, limits.max_videos);
}

int Tighter(int first, int second) {
  if (first == 0 || second == 0) return std::max(first, second);
  return std::min(first, second);
}

void CheckPromptTokens(const Limits& limits, int64_t tokens) {
  if (limits.max_prompt_tokens == 0 || tokens <= limits.max_prompt_tokens) return;
  throw Error(Code::ContextFull, "the prompt has " + std::to_string(tokens) +
                                     " tokens, those of the chat so far among them, and "
                                     "max_prompt_tokens is " +
                                     std::to_string(limits.max_prompt_tokens) +
                                     "; start a new chat or shorten the prompt");
}

void CheckTextBytes(const Limits& limits, int context_length, const char* what, size_t bytes) {
  constexpr size_t kBytesOfToken = 256;  // twice those of the longest tokens in use
  const int tokens = Tighter(context_length, limits.max_prompt_tokens);
  if (bytes / kBytesOfToken <= static_cast<size_t>(tokens)) return;
  throw Error(Code::ContextFull, std::string(what) + " has " + std::to_string(bytes) +
                                     " bytes, and a prompt may have " + std::to_string(tokens) +
                                     " tokens, of at most 256 bytes each; shorten it");
}

bool KvFits(const Limits& limits, const KvCache& cache, int more_tokens) {
  return limits.max_chat_kv_bytes == 0 || cache.BytesWith(more_tokens) <= limits.max_chat_kv_bytes;
}

void CheckKv(const Limits& limits, const KvCache& cache, int more_tokens) {
  if (KvFits(limits, cache, more_tokens)) return;
  throw Error(Code::ContextFull, "keys and values of the chat would take " +
                                     std::to_string(cache.BytesWith(more_tokens)) +
                                     " bytes, and max_chat_kv_bytes is " +
                                     std::to_string(limits.max_chat_kv_bytes) +
                                     "; start a new chat or shorten the prompt");
}

void CheckPixels(const Limits& limits, const VideoGenerationSpec& spec) {
  const uint64_t pixels = static_cast<uint64_t>(spec.frames) * static_cast<uint64_t>(spec.height) *
                          static_cast<uint64_t>(spec.width);
  if (limits.max_video_pixels == 0 || pixels <= limits.max_video_pixels) return;
  throw Error(Code::InvalidArgument,
              "a video of " + std::to_string(spec.frames) + " frames of " +
                  std::to_string(spec.width) + "x" + std::to_string(spec.height) + " has " +
                  std::to_string(pixels) + " pixels, and max_video_pixels is " +
                  std::to_string(limits.max_video_pixels) + "; ask for fewer or smaller frames");
}

}  // namespace g4v
