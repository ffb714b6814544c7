#include "base/process.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>

#include "base/error.h"

namespace g4v {
namespace {

constexpr std::chrono::seconds kLongestEnd(60);
constexpr const char* kEnding = "the process is ending; nothing runs any more";

std::atomic<uint64_t> fork_count{0};
std::atomic<bool> closed{false};

// Never destroyed: threads use it until the process is gone.
struct State {
  std::mutex mutex;
  std::condition_variable changed;
  LibraryWork* first = nullptr;  // of the works under way
  int making = 0;
  int running = 0;
};
State& Shared() {
  alignas(State) static unsigned char place[sizeof(State)];
  static State* const state = new (place) State;
  return *state;
}

thread_local int making_here = 0;  // works of kind kMake that this thread is in

int& CountOf(LibraryWork::Kind kind) {
  return kind == LibraryWork::Kind::kMake ? Shared().making : Shared().running;
}

void BeforeFork() {
  State& state = Shared();
  std::unique_lock lock(state.mutex);
  // A thread that forks inside its own work does not wait for itself.
  state.changed.wait(lock, [&] { return state.making <= making_here; });
  lock.release();  // held through the fork
}

void AfterForkInParent() { Shared().mutex.unlock(); }

void AfterForkInChild() {
  new (&Shared()) State;  // no other thread waits in the child, or is inside
  fork_count.fetch_add(1, std::memory_order_relaxed);
}

[[maybe_unused]] const int registered =
    pthread_atfork(&BeforeFork, &AfterForkInParent, &AfterForkInChild);

}  // namespace

uint64_t ForkCount() noexcept { return fork_count.load(std::memory_order_relaxed); }

LibraryWork::LibraryWork(Kind kind, Stop stop, void* context)
    : kind_(kind), stop_(stop), context_(context) {
  if (!Begin()) throw Error(Code::Runtime, kEnding);
}

LibraryWork::LibraryWork(Kind kind, std::nothrow_t) noexcept : kind_(kind) { Begin(); }

bool LibraryWork::Begin() noexcept {
  State& state = Shared();
  const std::lock_guard lock(state.mutex);
  // What began goes on to its end, whatever it is made of.
  if (closed.load(std::memory_order_acquire) && making_here == 0) return false;
  ++CountOf(kind_);
  if (kind_ == Kind::kMake) ++making_here;
  after_ = state.first;
  if (after_) after_->before_ = this;
  state.first = this;
  fork_count_ = ForkCount();
  return began_ = true;
}

LibraryWork::~LibraryWork() {
  if (!began_) return;
  State& state = Shared();
  {
    const std::lock_guard lock(state.mutex);
    if (kind_ == Kind::kMake) --making_here;
    if (fork_count_ != ForkCount()) return;  // the child does not count what its parent began
    --CountOf(kind_);
    (before_ ? before_->after_ : state.first) = after_;
    if (after_) after_->before_ = before_;
  }
  state.changed.notify_all();
}

void CloseLibraryWork() noexcept {
  State& state = Shared();
  std::unique_lock lock(state.mutex);
  closed.store(true, std::memory_order_release);
  for (const LibraryWork* work = state.first; work; work = work->after_) {
    if (work->stop_) work->stop_(work->context_);
  }
  state.changed.wait_for(lock, kLongestEnd,
                         [&] { return state.running == 0 && state.making <= making_here; });
}

bool LibraryWorkClosed() noexcept { return closed.load(std::memory_order_acquire); }

void OpenLibraryWork() noexcept { closed.store(false, std::memory_order_release); }

void CloseLibraryWorkAtExit() { std::atexit(&CloseLibraryWork); }

void ThreadOwner::Check() const {
  if (fork_count_ != ForkCount()) {
    throw Error(Code::Runtime,
                "this was loaded before a fork, and the child has none of its threads; load the "
                "bundle after the fork, in the process that uses it");
  }
  if (LibraryWorkClosed()) {
    throw Error(Code::Runtime, kEnding);
  }
}

void ThreadOwner::Keep(std::shared_ptr<const void> object) noexcept {
  struct Kept {
    std::shared_ptr<const void> object;
    Kept* next;
  };
  static std::atomic<Kept*> first{nullptr};  // so that a leak checker finds them
  auto* const kept = new (std::nothrow) Kept{std::move(object), first.load()};
  if (!kept) std::abort();
  while (!first.compare_exchange_weak(kept->next, kept)) {
  }
}

}  // namespace g4v
