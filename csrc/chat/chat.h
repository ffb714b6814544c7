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

  // Starts a turn; the work happens on threads of the assistant, together with that of other chats. `text` is untrusted UTF-8. `frames` is
  // a video to talk about, copied before Send returns; more frames than the encoder samples are
  // thinned out, fewer are used as they are.
  // Throws Error(InvalidArgument) for unusable text, frames or options and while another turn is
  // under way, Error(ContextFull) where the turn cannot fit, Error(Bundle) where the bundle lacks a
  // component, Error(Runtime) in a forked child. After an error or a cancel the chat is as it was
  // before the turn.
  std::shared_ptr<Stream> Send(const std::string& text,
                               const std::optional<FramesView>& frames = {},
                               const TurnOptions& options = {});

  // Appends a turn that was not generated here: what the user said, and the assistant's answer,
  // both untrusted UTF-8. The answer may hold captions between video tags, of which no videos are
  // made. Its tokens are computed with the next turn. Throws as Send.
  void Append(const std::string& text, const std::string& answer,
              const std::optional<FramesView>& frames = {},
              std::optional<int> question_frames = {});

  // A chat with the same history and options, which goes on for itself. Where the core runs the
  // decoder itself, the two share the memory of the history. `seed`: none = this chat's. Throws
  // Error(InvalidArgument) while a turn is under way, and Error(Runtime) where there is no memory.
  std::shared_ptr<Chat> Fork(std::optional<uint64_t> seed = {});

  // Forgets all turns but the first `turns`. Throws Error(InvalidArgument) where there are not as
  // many, and while a turn is under way.
  void Truncate(int turns);

  // Cancels the turn under way, if there is one.
  void Cancel();

  int turns() const;           // that are finished
  int context_used() const;    // tokens that the finished turns take up
  int context_length() const;  // tokens that fit
  uint64_t seed() const;
  // That the chat holds between its turns: keys and values, also those that it shares with forks,
  // and what it knows of videos.
  uint64_t bytes() const;

 private:
  Held<ChatState> state_;
};

}  // namespace g4v
