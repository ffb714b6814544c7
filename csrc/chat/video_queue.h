// The threads of an assistant that make videos, and their fair queue.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "chat/frame_checker.h"
#include "chat/stream_state.h"
#include "chat/video_maker.h"

namespace g4v {

// Streams take turns: one video each before anybody's second. A video of the bundle's generator uses
// every core, so two at once would only make both late; those of a host's generator wait for others,
// and several are under way.
class VideoQueue {
 public:
  VideoQueue(VideoMaker& maker, FrameChecker& frame_checker);  // must outlive the queue
  ~VideoQueue();  // no stream may wait any more; waits for videos of a host's generator
  VideoQueue(const VideoQueue&) = delete;
  VideoQueue& operator=(const VideoQueue&) = delete;

  // What follows a video that is withheld, or that a host's generator did not make: the stream goes on
  // after a Withheld or VideoFailed event, or fails with the Error.
  enum class Failure { GoOn, Fail };

  // Queues video `index` of `stream`, which receives its Progress events and a Video, Withheld or
  // VideoFailed event.
  void Submit(std::shared_ptr<StreamState> stream, int index, VideoRequest request,
              Failure failure);

 private:
  struct Job {
    std::shared_ptr<StreamState> stream;
    int index;
    VideoRequest request;
    Failure failure;
  };

  void AddHand();
  void Loop();
  void Run(const Job& job);
  void Make(const Job& job);
  FrameChecker::Verdict Judge(const Job& job, const Frames& frames);
  void Withhold(const Job& job, int unsafe, int64_t frames);

  VideoMaker& maker_;
  FrameChecker& frame_checker_;
  std::mutex judging_;  // a host's checker is called for one video at a time
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::deque<Job>> streams_;  // jobs of each stream, the next one to serve first
  size_t waiting_ = 0;                   // of them all
  size_t idle_hands_ = 0;
  bool stop_ = false;
  std::vector<std::thread> hands_;
};

}  // namespace g4v
