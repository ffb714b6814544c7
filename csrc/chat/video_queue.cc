#include "chat/video_queue.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "base/process.h"

namespace g4v {

VideoQueue::VideoQueue(VideoGenerator& generator, FrameChecker& frame_checker)
    : generator_(generator),
      frame_checker_(frame_checker),
      thread_(StartThread([this] { Loop(); })) {}

VideoQueue::~VideoQueue() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void VideoQueue::Submit(std::shared_ptr<StreamState> stream, int index, VideoRequest request,
                        Withhold withhold) {
  stream->AddJob();
  {
    const std::lock_guard lock(mutex_);
    const auto same = std::find_if(streams_.begin(), streams_.end(),
                                   [&](const auto& jobs) { return jobs.front().stream == stream; });
    auto& jobs = same != streams_.end() ? *same : streams_.emplace_back();
    jobs.push_back({std::move(stream), index, std::move(request), withhold});
  }
  changed_.notify_all();
}

void VideoQueue::Loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || !streams_.empty(); });
    if (stop_) return;
    std::deque<Job> jobs = std::move(streams_.front());
    streams_.pop_front();
    const Job job = std::move(jobs.front());
    jobs.pop_front();
    if (!jobs.empty()) streams_.push_back(std::move(jobs));
    lock.unlock();
    Run(job);
    lock.lock();
  }
}

void VideoQueue::Run(const Job& job) {
  StreamState& stream = *job.stream;
  if (!stream.BeginJob()) return;
  const double start = stream.ElapsedMs();
  std::exception_ptr error;
  try {
    if (!generator_.ReadsWhole(job.request.caption)) {
      stream.Push(
          WarningEvent{"the caption is longer than the text encoder reads; its end was ignored"});
    }
    const int steps = job.request.spec.steps;
    Frames frames = generator_.Generate(job.request, stream.control(), [&](int step) {
      stream.Push(ProgressEvent{job.index, step, steps});
    });
    const FrameChecker::Verdict verdict = frame_checker_.Judge(frames, &stream.control());
    if (verdict.withhold) {
      stream.Push(WithheldEvent{job.index, job.request.caption, verdict.unsafe,
                                static_cast<int>(frames.count)});
      if (job.withhold == Withhold::Fail) {
        throw Error(Code::UnsafeVideo, "the video is withheld: " + std::to_string(verdict.unsafe) +
                                           " of its " + std::to_string(frames.count) +
                                           " frames look unsafe");
      }
    } else {
      stream.Push(VideoEvent{job.index, job.request.caption, std::move(frames),
                             job.request.spec.fps, job.request.seed});
    }
  } catch (...) {
    error = std::current_exception();
  }
  stream.EndJob(error, stream.ElapsedMs() - start);
}

}  // namespace g4v
