// Threads that wait for work, for calls that do not come from an ONNX Runtime session, which has
// threads of its own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/parallel.h"

namespace g4v::kernels {

class ThreadPool final : public Parallel {
 public:
  // threads: how many work on a call, the caller's own included; at least 1.
  explicit ThreadPool(int threads);
  ~ThreadPool() override;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const override { return static_cast<int>(workers_.size()) + 1; }
  // Calls from several threads take turns.
  void Run(int64_t count, Task task, void* context) override;

 private:
  // Keeps the workers off the caller's core. A thread that is woken up is often put on the
  // waker's own queue, where it waits until the call is over or the scheduler balances, some
  // milliseconds later: as long as a whole call takes.
  void MakeRoom();
  void Wait();
  void Work(Task task, void* context, int64_t count);

  std::mutex calls_;  // held through a call
  std::mutex mutex_;  // guards what follows
  std::condition_variable started_;
  std::condition_variable done_;
  Task task_ = nullptr;
  void* context_ = nullptr;
  int64_t count_ = 0;
  std::atomic<int64_t> next_{0};
  int64_t call_ = 0;  // number of the call, so that a worker joins each at most once
  int working_ = 0;
  bool stop_ = false;
  int caller_core_ = -1;    // that the workers are kept off
  std::vector<int> cores_;  // that the process could use when the pool was made
  std::vector<std::thread> workers_;
};

}  // namespace g4v::kernels
