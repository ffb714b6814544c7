// A host's own generator of videos, such as another server's: in place of the bundle's, or where the
// bundle has none.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/process.h"
#include "diffusion/request.h"
#include "video/frames.h"

namespace g4v {

class StreamState;

// What a generator is asked for. The fields of `options` that nobody set are its own business;
// `seed` and what ResolveHostOptions refuses are never set.
struct HostVideoRequest {
  std::string caption;
  uint64_t seed = 0;
  VideoOptions options;
  uint64_t max_pixels = 0;  // frames x height x width that the video may have; 0 = any
};

struct HostVideo {
  Frames frames;
  double fps = 0.0;  // 0 < .. 1000
};

// How the host and the stream hear of each other while a video is made. Any thread may use it, also
// after the video is made; it then counts as cancelled.
class HostVideoJob {
 public:
  HostVideoJob(std::shared_ptr<StreamState> stream, int index);

  // Makes a Progress event. Throws Error(InvalidArgument) unless 0 <= step <= steps and steps >= 1.
  void Progress(int step, int steps);
  // Nobody waits for the video any more: return soon, with any error.
  bool cancelled() const;
  // Waits until cancelled() is true, at most `timeout`; returns cancelled().
  bool WaitCancelled(std::chrono::milliseconds timeout) const;
  void Finish() { over_.store(true, std::memory_order_release); }

 private:
  const std::shared_ptr<StreamState> stream_;
  const int index_;
  const ThreadOwner owner_;
  std::atomic<bool> over_{false};
};

// Makes one video. Called on threads of the assistant, for several videos at once. An Error that it
// throws becomes a VideoFailedEvent of a turn, and the error of Assistant::Generate. The stream of a
// video that is cancelled does not wait until it returns; the end of the assistant does.
using HostGenerator = std::function<HostVideo(const HostVideoRequest& request,
                                              const std::shared_ptr<HostVideoJob>& job)>;

}  // namespace g4v
