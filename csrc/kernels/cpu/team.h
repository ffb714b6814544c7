// Threads that go through the phases of a step together: the decoder's, whose parts take
// microseconds.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace g4v::kernels {

// Runs phases one after the other, each divided into parts that members take as they come. Unlike
// with barriers, nobody waits for a member that has not begun: one whose core is taken away by
// another process delays only the part that it is in the middle of. Members spin while a step runs,
// and for a while after it, so that the next one finds them awake; then they sleep.
class Team {
 public:
  struct Phase {
    // Runs one part, 0 <= part < parts; never throws. What the parts of the phases before wrote can
    // be read.
    void (*run)(void* context, const Phase& phase, int part, int member);
    void* context = nullptr;
    int kind = 0;   // for `run`
    int index = 0;  // likewise
    int parts = 1;
  };

  // members: the caller's thread included; at least 1. spin: how long members wait awake for the
  // next step; zero: not at all. Throws std::system_error where the system has no more threads.
  Team(int members, std::chrono::microseconds spin);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int members() const { return static_cast<int>(workers_.size()) + 1; }

  // Returns when all parts of all phases have run; the caller is member 0. Steps of several threads
  // take turns.
  void Run(std::span<const Phase> phases);

 private:
  // Of one phase. Each word has the number of the step in its high half, and in its low half how
  // many parts are left to take, or to finish: a member that was away finds another number and
  // touches nothing else.
  struct alignas(64) Progress {
    std::atomic<uint64_t> untaken{0};
    std::atomic<uint64_t> unfinished{0};
  };

  void End();
  void Work(int member);
  void RunStep(uint32_t step, size_t phases, int member);
  // Number of the part that the member may run, or -1 where there is none left.
  static int Take(std::atomic<uint64_t>& untaken, uint32_t step);

  const std::chrono::microseconds spin_;
  std::mutex steps_;                           // held through a step
  std::atomic<const Phase*> phases_{nullptr};  // read by who has taken a part
  std::atomic<uint64_t> step_{0};  // number of the step and of its phases; wakes the workers
  std::atomic<bool> stop_{false};
  std::vector<std::unique_ptr<Progress[]>> progress_;  // grows; never shrinks or moves
  std::atomic<Progress*> current_{nullptr};
  size_t room_ = 0;  // phases in `current_`
  std::vector<std::thread> workers_;
};

// The part of `count` items that is number `part` of `parts`: [first, last).
struct Share {
  int64_t first;
  int64_t last;
};
inline Share ShareOf(int64_t count, int part, int parts) {
  return {count * part / parts, count * (part + 1) / parts};
}

}  // namespace g4v::kernels
