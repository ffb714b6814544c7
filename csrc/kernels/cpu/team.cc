#include "kernels/cpu/team.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif
#include <algorithm>

#include "base/process.h"

namespace g4v::kernels {
namespace {

constexpr int kPauses = 2000;  // before a waiting member lets other threads have its core

void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

uint64_t Word(uint32_t step, uint32_t count) { return uint64_t{step} << 32 | count; }
uint32_t StepOf(uint64_t word) { return static_cast<uint32_t>(word >> 32); }
uint32_t CountOf(uint64_t word) { return static_cast<uint32_t>(word); }

}  // namespace

Team::Team(int members, std::chrono::microseconds spin) : spin_(spin) {
  workers_.reserve(std::max(members - 1, 0));
  try {
    for (int member = 1; member < members; ++member) {
      workers_.push_back(StartThread([this, member] { Work(member); }));
    }
  } catch (...) {  // the system has no more threads
    End();
    throw;
  }
}

Team::~Team() { End(); }

void Team::End() {
  stop_.store(true, std::memory_order_relaxed);
  step_.fetch_add(Word(1, 0), std::memory_order_release);
  step_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Team::Run(std::span<const Phase> phases) {
  const std::lock_guard lock(steps_);
  if (workers_.empty()) {
    for (const Phase& phase : phases) {
      for (int part = 0; part < phase.parts; ++part) phase.run(phase.context, phase, part, 0);
    }
    return;
  }
  if (phases.size() > room_) {
    // Members that were away may still look at what was there before.
    progress_.push_back(std::make_unique<Progress[]>(phases.size()));
    room_ = phases.size();
    current_.store(progress_.back().get(), std::memory_order_relaxed);
  }
  Progress* const progress = current_.load(std::memory_order_relaxed);
  const uint32_t step = StepOf(step_.load(std::memory_order_relaxed)) + 1;
  phases_.store(phases.data(), std::memory_order_relaxed);
  for (size_t i = 0; i < phases.size(); ++i) {
    const uint64_t word = Word(step, static_cast<uint32_t>(phases[i].parts));
    progress[i].unfinished.store(word, std::memory_order_relaxed);
    // Who takes a part sees the phases, and all that the caller wrote before.
    progress[i].untaken.store(word, std::memory_order_release);
  }
  step_.store(Word(step, static_cast<uint32_t>(phases.size())), std::memory_order_release);
  step_.notify_all();
  RunStep(step, phases.size(), 0);
}

int Team::Take(std::atomic<uint64_t>& untaken, uint32_t step) {
  uint64_t word = untaken.load(std::memory_order_acquire);
  while (StepOf(word) == step && CountOf(word) > 0) {
    if (untaken.compare_exchange_weak(word, word - 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
      return static_cast<int>(CountOf(word)) - 1;
    }
  }
  return -1;
}

void Team::RunStep(uint32_t step, size_t phases, int member) {
  Progress* const progress = current_.load(std::memory_order_relaxed);
  for (size_t i = 0; i < phases; ++i) {
    for (int part; (part = Take(progress[i].untaken, step)) >= 0;) {
      const Phase& phase = phases_.load(std::memory_order_relaxed)[i];
      phase.run(phase.context, phase, part, member);
      progress[i].unfinished.fetch_sub(1, std::memory_order_acq_rel);
    }
    const uint64_t running = Word(step, 0);
    uint64_t word = progress[i].unfinished.load(std::memory_order_acquire);
    for (int pauses = 0; word != running; ++pauses) {
      if (StepOf(word) != step) return;  // the others have gone on to another step
      if (pauses < kPauses) {
        Pause();
      } else {
        std::this_thread::yield();
      }
      word = progress[i].unfinished.load(std::memory_order_acquire);
    }
  }
}

void Team::Work(int member) {
  using Clock = std::chrono::steady_clock;
  uint64_t seen = 0;
  while (true) {
    const Clock::time_point until = Clock::now() + spin_;
    uint64_t word = step_.load(std::memory_order_acquire);
    while (word == seen) {
      if (Clock::now() >= until) {
        step_.wait(seen, std::memory_order_acquire);
      } else {
        for (int i = 0; i < 32; ++i) Pause();
      }
      word = step_.load(std::memory_order_acquire);
    }
    seen = word;
    if (stop_.load(std::memory_order_relaxed)) return;
    RunStep(StepOf(word), CountOf(word), member);
  }
}

}  // namespace g4v::kernels
