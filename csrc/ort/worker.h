// A thread for tasks that must all run on the same one.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

namespace g4v::ort {

class Worker {
 public:
  Worker();
  ~Worker();  // no Do may be under way
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Runs `task` on the thread, behind those that came before, and waits for its end. What it throws
  // is thrown here.
  void Do(std::function<void()> task);

 private:
  void Loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::packaged_task<void()>> tasks_;  // guarded by mutex_
  bool stopped_ = false;                          // likewise
  std::thread thread_;                            // last: it uses the others
};

}  // namespace g4v::ort
