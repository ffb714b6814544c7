// A chat with the assistant. Its history is the KV cache; a new turn prefills only what is new.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/process.h"
#include "chat/options.h"
#include "chat/stream.h"

namespace g4v {

class ChatState;

// Every method may be called from any thread. One turn is under way at a time.
class Chat {
 public:
  explicit Chat(std::shared_ptr<ChatState> state);
  ~Chat();
  Chat(const Chat&) = delete;
  Chat& operator=(const Chat&) = delete;

  // Starts a turn; the work happens on a thread of its own. `text` is untrusted UTF-8. `frames` is
  // a video to talk about, copied before Send returns; more frames than the encoder samples are
  // thinned out, fewer are used as they are.
  // Throws Error(InvalidArgument) for unusable text, frames or options and while another turn is
  // under way, Error(ContextFull) where the turn cannot fit, Error(Bundle) where the bundle lacks a
  // component, Error(Runtime) in a forked child. After an error or a cancel the chat is as it was
  // before the turn.
  std::shared_ptr<Stream> Send(const std::string& text,
                               const std::optional<FramesView>& frames = {},
                               const TurnOptions& options = {});

  // Cancels the turn under way, if there is one.
  void Cancel();

  int context_used() const;    // tokens that the finished turns take up
  int context_length() const;  // tokens that fit
  uint64_t seed() const;

 private:
  Held<ChatState> state_;
};

}  // namespace g4v
