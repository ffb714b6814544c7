#include "chat/video_queue.h"

#include <algorithm>
#include <string>
#include <system_error>

#include "base/error.h"
#include "base/process.h"

namespace g4v {
namespace {

// Videos of a host's generator at once. Each costs a thread that waits for it.
constexpr size_t kMostHostVideos = 16;

// Frames that the frame checker refuses before the video is whole.
struct RefusedFrames {
  int unsafe;
  int64_t frames;
};

}  // namespace

VideoQueue::VideoQueue(VideoMaker& maker, FrameChecker& frame_checker)
    : maker_(maker), frame_checker_(frame_checker) {
  hands_.reserve(kMostHostVideos);  // nothing may fail when a thread is there
  AddHand();
}

VideoQueue::~VideoQueue() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& hand : hands_) hand.join();
}

void VideoQueue::AddHand() {
  hands_.push_back(StartThread([this] { Loop(); }));
  ++idle_hands_;
}

void VideoQueue::Submit(std::shared_ptr<StreamState> stream, int index, VideoRequest request,
                        Failure failure) {
  stream->AddJob();
  {
    const std::lock_guard lock(mutex_);
    const auto same = std::find_if(streams_.begin(), streams_.end(),
                                   [&](const auto& jobs) { return jobs.front().stream == stream; });
    auto& jobs = same != streams_.end() ? *same : streams_.emplace_back();
    jobs.push_back({std::move(stream), index, std::move(request), failure});
    ++waiting_;
    const size_t most = maker_.kind() == StreamState::JobKind::kHost ? kMostHostVideos : 1;
    if (waiting_ > idle_hands_ && hands_.size() < most) {
      try {
        AddHand();
      } catch (const std::system_error&) {  // those that are there do it later
      }
    }
  }
  changed_.notify_one();
}

// Each hand counts as idle from its start on.
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
    --waiting_;
    --idle_hands_;
    lock.unlock();
    Run(job);
    lock.lock();
    ++idle_hands_;
  }
}

void VideoQueue::Run(const Job& job) {
  StreamState& stream = *job.stream;
  if (!stream.BeginJob(maker_.kind())) return;
  const double start = stream.ElapsedMs();
  std::exception_ptr error;
  try {
    Make(job);
  } catch (...) {
    error = std::current_exception();
  }
  stream.EndJob(maker_.kind(), error, stream.ElapsedMs() - start);
}

void VideoQueue::Make(const Job& job) {
  HostVideo video;
  try {
    video = maker_.Make(job.request, job.stream, job.index, [&](const Frames& frames) {
      const FrameChecker::Verdict verdict = Judge(job, frames);
      if (verdict.withhold) throw RefusedFrames{verdict.unsafe, frames.count};
    });
  } catch (const RefusedFrames& refused) {
    return Withhold(job, refused.unsafe, refused.frames);
  } catch (const Error& error) {
    const bool turn_goes_on = maker_.kind() == StreamState::JobKind::kHost &&
                              job.failure == Failure::GoOn && !job.stream->stopped();
    if (!turn_goes_on) throw;
    job.stream->Push(VideoFailedEvent{job.index, job.request.caption, error.code(), error.what()});
    return;
  }
  const FrameChecker::Verdict verdict = Judge(job, video.frames);
  if (verdict.withhold) return Withhold(job, verdict.unsafe, video.frames.count);
  job.stream->Push(VideoEvent{job.index, job.request.caption, std::move(video.frames), video.fps,
                              job.request.seed});
}

FrameChecker::Verdict VideoQueue::Judge(const Job& job, const Frames& frames) {
  const std::lock_guard lock(judging_);
  job.stream->CheckNotCancelled();
  return frame_checker_.Judge(frames, &job.stream->control());
}

void VideoQueue::Withhold(const Job& job, int unsafe, int64_t frames) {
  job.stream->Push(WithheldEvent{job.index, job.request.caption, unsafe, static_cast<int>(frames)});
  if (job.failure != Failure::Fail) return;
  throw Error(Code::UnsafeVideo,
              "the video is withheld: " +
                  (frames == 1 ? std::string("a picture of it looks unsafe")
                               : std::to_string(unsafe) + " of its " + std::to_string(frames) +
                                     " frames look unsafe"));
}

}  // namespace g4v
