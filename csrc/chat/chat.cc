#include "chat/chat.h"

#include "chat/chat_state.h"

namespace g4v {

Chat::Chat(std::shared_ptr<ChatState> state) : state_(std::move(state)) {}
Chat::~Chat() = default;

std::shared_ptr<Stream> Chat::Send(const std::string& text, const std::optional<FramesView>& frames,
                                   const TurnOptions& options) {
  return state_->Send(text, frames, options);
}

void Chat::Append(const std::string& text, const std::string& answer,
                  const std::optional<FramesView>& frames, std::optional<int> question_frames) {
  state_->Append(text, frames, answer, question_frames);
}

std::shared_ptr<Chat> Chat::Fork(std::optional<uint64_t> seed) {
  return std::make_shared<Chat>(state_->Fork(seed));
}

void Chat::Truncate(int turns) { state_->Truncate(turns); }

void Chat::Cancel() {
  if (state_.usable()) state_.unchecked().Cancel();
}
int Chat::turns() const { return state_->turns(); }
int Chat::context_used() const { return state_->context_used(); }
int Chat::context_length() const { return state_.unchecked().context_length(); }
uint64_t Chat::seed() const { return state_.unchecked().seed(); }
uint64_t Chat::bytes() const { return state_->bytes(); }

}  // namespace g4v
