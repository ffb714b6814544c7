#include "chat/stream.h"

#include <new>
#include <string>
#include <system_error>
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
  } catch (const std::system_error& error) {
    return std::make_exception_ptr(
        Error(Code::Internal, std::string("no thread can be started: ") + error.what()));
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
  if (look_) look_();
}

void StreamState::Close() {
  Cancel();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return closed_; });
  events_.clear();
  error_ = nullptr;
}

void StreamState::Push(Event event) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    events_.push_back(std::move(event));
  }
  changed_.notify_all();
}

void StreamState::CheckNotCancelled() const {
  const std::lock_guard lock(mutex_);
  if (cancelled_) std::rethrow_exception(Cancelled());
  if (cause_) std::rethrow_exception(cause_);
}

double StreamState::ElapsedMs() const {
  return std::chrono::duration<double, std::milli>(Clock::now() - started_).count();
}

void StreamState::AddJob() {
  const std::lock_guard lock(mutex_);
  ++queued_jobs_;
}

bool StreamState::BeginJob(JobKind kind) {
  const std::lock_guard lock(mutex_);
  --queued_jobs_;
  if (stopping_) return false;
  ++(kind == JobKind::kHost ? host_jobs_ : running_jobs_);
  return true;
}

void StreamState::EndJob(JobKind kind, std::exception_ptr error, double milliseconds) {
  {
    const std::lock_guard lock(mutex_);
    --(kind == JobKind::kHost ? host_jobs_ : running_jobs_);
    job_ms_ += milliseconds;
    if (error) StopLocked(std::move(error));
  }
  if (look_) look_();
}

bool StreamState::stopped() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

bool StreamState::WaitStopped(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [this] { return stopping_; });
}

void StreamState::Stop(std::exception_ptr error) {
  const std::lock_guard lock(mutex_);
  StopLocked(std::move(error));
}

void StreamState::StopLocked(std::exception_ptr error) {
  // Once the stream stops, an error is no cause of it.
  if (stopping_) return;
  cause_ = std::move(error);
  stopping_ = true;
  control_.Terminate();
  changed_.notify_all();
}

void StreamState::StopJobs() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  control_.Terminate();
  changed_.notify_all();
}

bool StreamState::jobs_done() const {
  const std::lock_guard lock(mutex_);
  return running_jobs_ == 0 && (stopping_ || (queued_jobs_ == 0 && host_jobs_ == 0));
}

double StreamState::job_ms() const {
  const std::lock_guard lock(mutex_);
  return job_ms_;
}

void StreamState::End(DoneEvent done, std::exception_ptr error, const std::function<void()>& commit,
                      const std::function<void()>& roll_back) {
  {
    std::unique_lock lock(mutex_);
    if (ended_) return;
    ended_ = true;
    if (cause_) error = cause_;
    bool committed = false;
    if (!error && !cancelled_) {
      const size_t before = events_.size();
      try {
        events_.push_back(std::move(done));
        commit();
        committed = true;
      } catch (...) {
        error = std::current_exception();
        if (events_.size() > before) events_.pop_back();
      }
    }
    if (!committed) {
      // Without the lock: Cancel does nothing more, and the caller can wait no better with it.
      lock.unlock();
      roll_back();
      lock.lock();
      error_ = cancelled_ ? Cancelled() : AsError(error);
    }
    closed_ = true;
  }
  changed_.notify_all();
}

Stream::Stream(std::shared_ptr<StreamState> state, std::shared_ptr<const void> owner)
    : owner_(std::move(owner)), state_(std::move(state)) {}
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
