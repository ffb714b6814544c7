// What the worker of a stream, the video thread and the caller share.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "chat/event.h"
#include "ort/session.h"

namespace g4v {

class StreamState {
 public:
  explicit StreamState(std::shared_ptr<ort::Environment> environment)
      : control_(std::move(environment)) {}
  StreamState(const StreamState&) = delete;
  StreamState& operator=(const StreamState&) = delete;

  // The caller's side; see Stream.
  std::optional<Event> Next();
  bool Wait(std::chrono::milliseconds timeout);
  void Cancel();
  void Close();

  // Starts the worker. `work` returns what commits its result and the last event; it runs on a
  // thread of its own. `commit` or `roll_back` is called exactly once, before the end of the stream
  // becomes visible, so that the chat is free again by then.
  struct Result {
    DoneEvent done;
    std::function<void()> commit;
  };
  void Start(std::function<Result()> work, std::function<void()> roll_back);

  // The worker's side.
  void Push(Event event);
  ort::RunControl& control() { return control_; }
  void CheckNotCancelled() const;  // throws Error(Cancelled)
  double ElapsedMs() const;        // since the stream was made

  // Jobs on the video thread. A queued job begins unless the stream stops before; the stream waits
  // for the jobs that began.
  void AddJob();
  bool BeginJob();  // false: drop the job
  void EndJob(std::exception_ptr error, double milliseconds);
  // Waits for every job; throws the first error of one, or Error(Cancelled). Returns the
  // milliseconds that the jobs took.
  double WaitForJobs();

 private:
  using Clock = std::chrono::steady_clock;

  void Work(const std::function<Result()>& work, const std::function<void()>& roll_back);
  void StopJobs();
  bool ready() const { return closed_ || (!cancelled_ && !events_.empty()); }

  const Clock::time_point started_ = Clock::now();
  ort::RunControl control_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Event> events_;
  std::exception_ptr error_;
  bool cancelled_ = false;  // by the caller, before the end
  bool stopping_ = false;   // no job begins any more
  bool closed_ = false;     // no event comes any more
  int queued_jobs_ = 0;
  int running_jobs_ = 0;
  std::exception_ptr job_error_;
  double job_ms_ = 0;
  std::mutex join_mutex_;
  std::thread worker_;
};

}  // namespace g4v
