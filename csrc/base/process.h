// What a fork and the end of a process do to an object that has threads, and what can be promised.
//
// The child of a fork has none of its parent's threads, and a lock that one of them held stays
// locked in it for ever. When a process ends, static objects go while its threads still run. So an
// object with threads is used, and ended, by the process that made it alone; and what has locks and
// static objects for the whole process, as ONNX Runtime has, is entered in a way that both know of.
#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <new>
#include <thread>
#include <type_traits>
#include <utility>

namespace g4v {

// Differs between a process and the children that it forks.
uint64_t ForkCount() noexcept;

// Work inside a library that has locks and static objects for the whole process. A fork waits until
// no other thread is at work that locks them, so that the child can use the library; the end of the
// process waits until no thread is inside.
class LibraryWork {
 public:
  enum class Kind {
    kMake,  // makes or drops sessions, loads libraries: takes the library's locks
    kRun,   // runs a session: its own locks alone
  };
  // Asks the work to end soon; called from any thread, with no other lock but its own.
  using Stop = void (*)(void* context) noexcept;

  // Throws Error(Runtime) after CloseLibraryWork.
  explicit LibraryWork(Kind kind, Stop stop = nullptr, void* context = nullptr);
  // For destructors: began() is false after CloseLibraryWork, and nothing must be done.
  LibraryWork(Kind kind, std::nothrow_t) noexcept;
  LibraryWork(const LibraryWork&) = delete;
  LibraryWork& operator=(const LibraryWork&) = delete;
  ~LibraryWork();

  bool began() const noexcept { return began_; }

 private:
  friend void CloseLibraryWork() noexcept;

  bool Begin() noexcept;

  const Kind kind_;
  const Stop stop_ = nullptr;
  void* const context_ = nullptr;
  LibraryWork* before_ = nullptr;  // neighbours in the list of all works
  LibraryWork* after_ = nullptr;
  uint64_t fork_count_ = 0;
  bool began_ = false;
};

// A thread that runs `work`. A fork waits until it is made: glibc puts the stack of a thread that
// has ended on the list of those in use before it frees what was thread-local on it, and a child of
// a fork between the two frees that once more ("double free or corruption").
template <class Work>
std::thread StartThread(Work&& work) {
  const LibraryWork library(LibraryWork::Kind::kMake, std::nothrow);
  return std::thread(std::forward<Work>(work));
}

// std::async on a thread of its own, which is started likewise.
template <class Work>
auto StartAsync(Work&& work) {
  const LibraryWork library(LibraryWork::Kind::kMake, std::nothrow);
  return std::async(std::launch::async, std::forward<Work>(work));
}

// What a process makes once, when it is first asked for it: make(), which is never destroyed. A fork
// waits meanwhile. In place of a static variable of a function: one that another thread is making at
// a fork stays under way in the child for ever, and who needs it there waits as long.
// One for each place that calls this, since `Make` is the type of a lambda.
template <class Make>
const auto& MadeOnce(Make make) {
  using Value = std::invoke_result_t<Make>;
  static constinit std::atomic<const Value*> made{nullptr};
  if (const Value* const value = made.load(std::memory_order_acquire)) return *value;
  const LibraryWork library(LibraryWork::Kind::kMake, std::nothrow);
  static const Value* const value = new Value(make());
  made.store(value, std::memory_order_release);
  return *value;
}

// For the end of the process: no work begins any more; what is under way is asked to stop and waited
// for, a minute at most. Harmless when repeated.
void CloseLibraryWork() noexcept;
bool LibraryWorkClosed() noexcept;
// An interpreter that was ended may start again in the same process.
void OpenLibraryWork() noexcept;
// Calls CloseLibraryWork before static objects go that were made before this call.
void CloseLibraryWorkAtExit();

// An owner's hold on an object that has threads. In a forked child, and once the process ends, using
// the object throws Error(Runtime), and dropping it leaves it in memory: its destructor would wait
// for threads that are not there.
class ThreadOwner {
 public:
  ThreadOwner() : fork_count_(ForkCount()) {}
  bool usable() const noexcept { return fork_count_ == ForkCount() && !LibraryWorkClosed(); }
  void Check() const;  // throws Error(Runtime) where the object is not usable

  static void Keep(std::shared_ptr<const void> object) noexcept;  // for ever

 private:
  uint64_t fork_count_;
};

template <class T>
class Held {
 public:
  explicit Held(std::shared_ptr<T> object) : object_(std::move(object)) {}
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() {
    if (!owner_.usable()) ThreadOwner::Keep(std::move(object_));
  }

  bool usable() const noexcept { return owner_.usable(); }
  T* operator->() const { return share().get(); }
  const std::shared_ptr<T>& share() const {
    owner_.Check();
    return object_;
  }
  // For what needs no thread and no lock, and after usable() where nothing may be thrown.
  decltype(auto) unchecked() const { return *object_; }  // T&

 private:
  ThreadOwner owner_;
  std::shared_ptr<T> object_;
};

}  // namespace g4v
