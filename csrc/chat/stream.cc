#include "chat/stream.h"

#include <new>
#include <utility>

#include "base/error.h"
#include "chat/stream_state.h"

namespace g4v {
namespace {

std::exception_ptr Cancelled() {
  return std::make_exception_ptr(Error(Code::Cancelled, "cancelled"));
}

// Callers see no other exception than Error.
std::exception_ptr AsError(std::exception_ptr pointer) {
  try {
    std::rethrow_exception(pointer);
  } catch (const Error&) {
    return pointer;
  } catch (const std::bad_alloc&) {
    return std::make_exception_ptr(Error(Code::Internal, "there is not enough memory"));
  } catch (const std::exception& error) {
    return std::make_exception_ptr(Error(Code::Internal, error.what()));
  } catch (...) {
    return std::make_exception_ptr(Error(Code::Internal, "an unknown error"));
  }
}

}  // namespace

std::optional<Event> StreamState::Next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ready(); });
  if (!events_.empty() && !cancelled_) {
    Event event = std::move(events_.front());
    events_.pop_front();
    return event;
  }
  events_.clear();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  return std::nullopt;
}

bool StreamState::Wait(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [this] { return ready(); });
}

void StreamState::Cancel() {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    cancelled_ = stopping_ = true;
    control_.Terminate();
  }
  changed_.notify_all();
}

void StreamState::Close() {
  Cancel();
  {
    const std::lock_guard lock(join_mutex_);
    if (worker_.joinable()) worker_.join();
  }
  const std::lock_guard lock(mutex_);
  events_.clear();
  error_ = nullptr;
}

void StreamState::Start(std::function<Result()> work, std::function<void()> roll_back) {
  worker_ = std::thread(
      [this, work = std::move(work), roll_back = std::move(roll_back)] { Work(work, roll_back); });
}

void StreamState::Work(const std::function<Result()>& work,
                       const std::function<void()>& roll_back) {
  std::exception_ptr error;
  try {
    Result result = work();
    const std::lock_guard lock(mutex_);
    if (!cancelled_) {
      result.commit();
      events_.push_back(std::move(result.done));
      closed_ = true;
    }
  } catch (...) {
    error = AsError(std::current_exception());
  }
  if (!closed_) {
    StopJobs();
    roll_back();
    const std::lock_guard lock(mutex_);
    error_ = cancelled_ ? Cancelled() : error;
    closed_ = true;
  }
  changed_.notify_all();
}

void StreamState::Push(Event event) {
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  changed_.notify_all();
}

void StreamState::CheckNotCancelled() const {
  const std::lock_guard lock(mutex_);
  if (cancelled_) std::rethrow_exception(Cancelled());
  if (job_error_) std::rethrow_exception(job_error_);
}

double StreamState::ElapsedMs() const {
  return std::chrono::duration<double, std::milli>(Clock::now() - started_).count();
}

void StreamState::AddJob() {
  const std::lock_guard lock(mutex_);
  ++queued_jobs_;
}

bool StreamState::BeginJob() {
  const std::lock_guard lock(mutex_);
  --queued_jobs_;
  if (stopping_) return false;
  ++running_jobs_;
  return true;
}

void StreamState::EndJob(std::exception_ptr error, double milliseconds) {
  {
    const std::lock_guard lock(mutex_);
    --running_jobs_;
    job_ms_ += milliseconds;
    if (error && !job_error_) {
      job_error_ = error;
      stopping_ = true;
    }
  }
  changed_.notify_all();
}

double StreamState::WaitForJobs() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return running_jobs_ == 0 && (queued_jobs_ == 0 || stopping_); });
  if (cancelled_) std::rethrow_exception(Cancelled());
  if (job_error_) std::rethrow_exception(job_error_);
  return job_ms_;
}

void StreamState::StopJobs() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  control_.Terminate();
  changed_.wait(lock, [this] { return running_jobs_ == 0; });
}

Stream::Stream(std::shared_ptr<StreamState> state) : state_(std::move(state)) {}
Stream::~Stream() { Close(); }
std::optional<Event> Stream::Next() { return state_->Next(); }
bool Stream::Wait(std::chrono::milliseconds timeout) { return state_->Wait(timeout); }
void Stream::Cancel() {
  if (state_.usable()) state_.unchecked().Cancel();
}
void Stream::Close() {
  if (state_.usable()) state_.unchecked().Close();
}

}  // namespace g4v
