#include "kernels/cpu/thread_pool.h"

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#endif
#include <algorithm>

#include "base/process.h"

namespace g4v::kernels {

ThreadPool::ThreadPool(int threads) {
#ifdef __linux__
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) {
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &mask)) cores_.push_back(core);
    }
  }
#endif
  workers_.reserve(std::max(threads - 1, 0));
  for (int i = 1; i < threads; ++i) workers_.push_back(StartThread([this] { Wait(); }));
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  started_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::MakeRoom() {
#ifdef __linux__
  // With fewer cores than threads they have to share.
  if (cores_.size() <= workers_.size()) return;
  const int core = sched_getcpu();
  if (core < 0 || core == caller_core_) return;
  caller_core_ = core;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (const int other : cores_) {
    if (other != core) CPU_SET(other, &mask);
  }
  // Where this fails, a call is slower and nothing else.
  for (std::thread& worker : workers_) {
    pthread_setaffinity_np(worker.native_handle(), sizeof(mask), &mask);
  }
#endif
}

void ThreadPool::Run(int64_t count, Task task, void* context) {
  if (count <= 1 || workers_.empty()) {
    for (int64_t i = 0; i < count; ++i) task(context, i);
    return;
  }
  const std::lock_guard call(calls_);
  MakeRoom();
  {
    const std::lock_guard lock(mutex_);
    task_ = task;
    context_ = context;
    count_ = count;
    next_.store(0, std::memory_order_relaxed);
    ++call_;
  }
  started_.notify_all();
  Work(task, context, count);
  // A worker that has not woken up yet finds nothing left to do.
  std::unique_lock lock(mutex_);
  count_ = 0;
  done_.wait(lock, [this] { return working_ == 0; });
}

void ThreadPool::Work(Task task, void* context, int64_t count) {
  for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count;) {
    task(context, i);
  }
}

void ThreadPool::Wait() {
  int64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    started_.wait(lock, [&] { return stop_ || call_ != seen; });
    if (stop_) return;
    seen = call_;
    if (count_ == 0) continue;
    ++working_;
    const Task task = task_;
    void* const context = context_;
    const int64_t count = count_;
    lock.unlock();
    Work(task, context, count);
    lock.lock();
    if (--working_ == 0) done_.notify_all();
  }
}

}  // namespace g4v::kernels
