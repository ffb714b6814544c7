#include "chat/host_generator.h"

#include <algorithm>

#include "base/error.h"
#include "chat/stream_state.h"

namespace g4v {

HostVideoJob::HostVideoJob(std::shared_ptr<StreamState> stream, int index)
    : stream_(std::move(stream)), index_(index) {}

void HostVideoJob::Progress(int step, int steps) {
  if (steps < 1 || step < 0 || step > steps) {
    throw Error(Code::InvalidArgument, "progress is " + std::to_string(step) + " of " +
                                           std::to_string(steps) + " but must be 0 to its end");
  }
  if (!cancelled()) stream_->Push(ProgressEvent{index_, step, steps});
}

bool HostVideoJob::cancelled() const {
  return over_.load(std::memory_order_acquire) || !owner_.usable() || stream_->stopped();
}

bool HostVideoJob::WaitCancelled(std::chrono::milliseconds timeout) const {
  // The end of the process wakes nobody: it is looked for.
  constexpr std::chrono::milliseconds kSlice{50};
  const auto end = std::chrono::steady_clock::now() + timeout;
  while (!cancelled()) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    stream_->WaitStopped(std::min(left, kSlice));
  }
  return true;
}

}  // namespace g4v
