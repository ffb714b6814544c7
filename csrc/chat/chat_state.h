// The history of a chat and one turn of it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "chat/answer.h"
#include "chat/runtime.h"
#include "chat/stream.h"
#include "chat/stream_state.h"
#include "decoder/kv_cache.h"

namespace g4v {

class ChatState : public std::enable_shared_from_this<ChatState> {
 public:
  ChatState(std::shared_ptr<Runtime> runtime, const ChatOptions& options);

  std::shared_ptr<Stream> Send(const std::string& text, const std::optional<FramesView>& frames,
                               const TurnOptions& options);
  void Cancel();
  int context_used() const;
  int context_length() const { return runtime_->decoder().spec().context_length; }
  uint64_t seed() const { return seed_; }

 private:
  // What a turn asks for, checked.
  struct Question {
    std::vector<int32_t> before;  // ids in front of the video tokens
    std::optional<Frames> video;
    std::vector<int32_t> after;  // ids behind them
    TextGenerationSpec text;
    std::optional<VideoGenerationSpec> generation;
  };

  // What a turn leaves behind, taken over when it ends well.
  struct Turn {
    std::vector<int32_t> pending;
    int videos = 0;
    DoneEvent done;
  };

  Question Check(const std::string& text, const std::optional<FramesView>& frames,
                 const TurnOptions& options);
  void CheckRoom(const Question& question) const;
  Turn Run(const Question& question, const std::shared_ptr<StreamState>& stream);
  VideoTokens Encode(const Frames& video, StreamState& stream, DoneEvent& done);
  void Prefill(const Question& question, StreamState& stream, std::vector<float>& logits,
               Turn& turn);
  void Decode(const Question& question, const std::shared_ptr<StreamState>& stream,
              std::vector<float>& logits, Turn& turn);
  void Deliver(const Question& question, const std::shared_ptr<StreamState>& stream,
               std::vector<AnswerPiece> pieces, Turn& turn);
  void Commit(Turn turn);
  void RollBack();

  const std::shared_ptr<Runtime> runtime_;
  const ChatOptions options_;
  const uint64_t seed_;
  const std::string system_;

  mutable std::mutex mutex_;
  bool busy_ = false;
  std::weak_ptr<StreamState> active_;
  int used_ = 0;  // tokens of the finished turns, pending ones included

  // The worker's own while busy_.
  std::unique_ptr<KvCache> cache_;
  int kept_ = 0;                  // tokens in the cache that finished turns put there
  std::vector<int32_t> pending_;  // belong to finished turns and are not in the cache yet
  uint64_t turns_ = 0;
  uint64_t videos_ = 0;
  std::map<std::vector<FrameKey>, VideoTokens> encoded_;
  FrameMemory frames_;  // of the last video
};

}  // namespace g4v
