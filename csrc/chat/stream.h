// The events of one turn or one generated video, in order.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "base/process.h"
#include "chat/event.h"

namespace g4v {

class StreamState;

// Next may be called from one thread at a time, Cancel from any thread at any time. The destructor
// cancels and waits until the turn has stopped (within one denoising step). In a forked child Next
// and Wait throw Error(Runtime), and nothing else does anything.
class Stream {
 public:
  // owner: what computes the stream, which lives until the stream has stopped.
  Stream(std::shared_ptr<StreamState> state, std::shared_ptr<const void> owner);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Waits for the next event; nothing after the last one. Throws the Error that ended the turn,
  // Error(Cancelled) after Cancel, once; afterwards it returns nothing.
  std::optional<Event> Next();

  // Waits until Next would return at once, at most `timeout`; false where it still would wait.
  bool Wait(std::chrono::milliseconds timeout);

  // Stops the turn: it ends with Error(Cancelled) and the chat is as before it. Harmless
  // when repeated and when the turn is over already (its events are still delivered then).
  void Cancel();

  // Cancels and waits until the turn has stopped; Next returns nothing from then on.
  void Close();

 private:
  Held<const void> owner_;
  Held<StreamState> state_;
};

}  // namespace g4v
