// What the threads that compute a stream and its caller share.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "chat/event.h"
#include "ort/session.h"

namespace g4v {

class StreamState {
 public:
  using Clock = std::chrono::steady_clock;

  explicit StreamState(std::shared_ptr<ort::Environment> environment)
      : control_(std::move(environment)) {}
  StreamState(const StreamState&) = delete;
  StreamState& operator=(const StreamState&) = delete;

  // The caller's side; see Stream. Close waits for the end.
  std::optional<Event> Next();
  bool Wait(std::chrono::milliseconds timeout);
  void Cancel();
  void Close();

  // The computing side. `look` is called, from any thread and with no lock held, when there may be
  // news for it: a cancel, or the end of a job. It may be called once more after the end. Set before
  // anything can be cancelled.
  void SetLook(std::function<void()> look) { look_ = std::move(look); }
  void Push(Event event);  // after the end it does nothing
  ort::RunControl& control() { return control_; }
  void CheckNotCancelled() const;  // throws Error(Cancelled), or what stopped the stream
  double ElapsedMs() const;        // since the stream was made
  Clock::time_point started() const { return started_; }

  // Jobs on the threads of videos. A queued job begins unless the stream stops before; the stream ends
  // after the jobs that began. One that is the host's is left behind where the stream stops: it may
  // take any time to notice, and touches nothing of a chat.
  enum class JobKind { kOwn, kHost };
  void AddJob();
  bool BeginJob(JobKind kind);  // false: drop the job
  void EndJob(JobKind kind, std::exception_ptr error, double milliseconds);
  bool stopped() const;  // no job begins any more
  // Waits until stopped() is true, at most `timeout`; returns stopped().
  bool WaitStopped(std::chrono::milliseconds timeout);
  void StopJobs();  // no job begins any more, and those that run are cancelled
  // Stops the stream for this error, unless something stopped it before. No `look` follows.
  void Stop(std::exception_ptr error);
  bool jobs_done() const;  // none runs, and none will begin
  double job_ms() const;   // what the jobs took

  // Ends the stream, the first time, when jobs_done(). Where neither `error` is set nor a job failed nor the
  // caller cancelled: calls `commit` and delivers `done`. Else calls `roll_back` and delivers the
  // error. Both are called before the end can be seen, so that the chat is free again by then; after
  // it nothing of the chat is touched.
  void End(DoneEvent done, std::exception_ptr error, const std::function<void()>& commit,
           const std::function<void()>& roll_back);

 private:
  void StopLocked(std::exception_ptr error);
  bool ready() const { return closed_ || (!cancelled_ && !events_.empty()); }

  const Clock::time_point started_ = Clock::now();
  ort::RunControl control_;
  std::function<void()> look_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Event> events_;
  std::exception_ptr error_;
  bool cancelled_ = false;  // by the caller, before the end
  bool stopping_ = false;   // no job begins any more
  bool ended_ = false;      // End was called
  bool closed_ = false;     // no event comes any more
  int queued_jobs_ = 0;
  int running_jobs_ = 0;      // those of the host apart
  int host_jobs_ = 0;         // likewise running
  std::exception_ptr cause_;  // why it stops, where it is not the caller
  double job_ms_ = 0;
};

}  // namespace g4v
