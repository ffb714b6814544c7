// What a chat is: its history, and what turns it into the next turn.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "chat/history.h"
#include "chat/options.h"
#include "chat/prompt.h"
#include "chat/runtime.h"
#include "chat/stream.h"
#include "chat/turn.h"

namespace g4v {

class ChatState : public std::enable_shared_from_this<ChatState> {
 public:
  ChatState(std::shared_ptr<Runtime> runtime, const ChatOptions& options);

  // See Chat.
  std::shared_ptr<Stream> Send(const std::string& text, const std::optional<FramesView>& frames,
                               const TurnOptions& options);
  void Append(const std::string& text, const std::optional<FramesView>& frames,
              const std::string& answer, std::optional<int> question_frames);
  std::shared_ptr<ChatState> Fork(std::optional<uint64_t> seed);
  void Truncate(int turns);
  void Cancel();
  int turns() const;
  int context_used() const;
  int context_length() const { return runtime_->decoder().spec().context_length; }
  uint64_t seed() const { return seed_; }
  uint64_t bytes() const;

 private:
  // Nobody else changes the history while it lives; refused while a turn is under way.
  class Claim;

  std::vector<Segment> QuestionSegments(const std::string& text,
                                        const std::optional<FramesView>& frames,
                                        std::optional<int> question_frames) const;
  Question Check(const std::string& text, const std::optional<FramesView>& frames,
                 const TurnOptions& options) const;
  // Throws Error(ContextFull) where the tokens and one more do not fit behind those that are kept.
  void CheckRoom(int needed, int kept) const;
  VideoTokenCount CountOfVideo() const;
  void Commit(Turn::Result result);
  void RollBack();
  // The turn or claim is over.
  void Release();
  void ReleaseLocked();

  const std::shared_ptr<Runtime> runtime_;
  const ChatOptions options_;
  const uint64_t seed_;
  const std::string system_;

  mutable std::mutex mutex_;  // guards what is below, but for what is said otherwise
  bool busy_ = false;         // a turn or a claim is under way
  std::weak_ptr<StreamState> active_;
  uint64_t bytes_ = 0;
  History history_;  // theirs alone while busy_; `marks` is changed under the mutex
};

}  // namespace g4v
