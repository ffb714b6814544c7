// The one thread of an assistant that makes videos, and its fair queue.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "chat/frame_checker.h"
#include "chat/stream_state.h"
#include "diffusion/generator.h"

namespace g4v {

// Streams take turns: one video each before anybody's second. A video uses every core, so two at
// once would only make both late.
class VideoQueue {
 public:
  VideoQueue(VideoGenerator& generator, FrameChecker& frame_checker);  // must outlive the queue
  ~VideoQueue();  // no stream may wait any more
  VideoQueue(const VideoQueue&) = delete;
  VideoQueue& operator=(const VideoQueue&) = delete;

  // What follows a Withheld event: the stream goes on, or fails with Error(UnsafeVideo).
  enum class Withhold { GoOn, Fail };

  // Queues video `index` of `stream`, which receives its Progress events and a Video or Withheld
  // event.
  void Submit(std::shared_ptr<StreamState> stream, int index, VideoRequest request,
              Withhold withhold);

 private:
  struct Job {
    std::shared_ptr<StreamState> stream;
    int index;
    VideoRequest request;
    Withhold withhold;
  };

  void Loop();
  void Run(const Job& job);

  VideoGenerator& generator_;
  FrameChecker& frame_checker_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::deque<Job>> streams_;  // jobs of each stream, the next one to serve first
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace g4v
