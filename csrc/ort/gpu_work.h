// Lets a CUDA graph be captured while no other session of this process works on a GPU.
//
// ONNX Runtime captures in CUDA's global mode: until the capture ends, calls of any thread that may
// touch all of a GPU, such as those that allocate and free memory, fail and spoil the capture. So
// every session on a GPU counts as at work while it is made, dropped, runs or allocates, and a
// capture begins only while none does. What other libraries of the process do is not known here.
#pragma once

#include <mutex>
#include <optional>
#include <shared_mutex>

namespace g4v::ort {

// One piece of work on a GPU; waits while a graph is captured by another thread. Those of one
// thread do not nest. `on_gpu` false: nothing.
class GpuWork {
 public:
  explicit GpuWork(bool on_gpu);

 private:
  std::shared_lock<std::shared_mutex> lock_;
};

// While it lives, no other thread works on a GPU, and this thread's own work is let through.
class GpuAlone {
 public:
  // Empty where another thread is at work: nothing waits for it.
  static std::optional<GpuAlone> Try();
  GpuAlone(GpuAlone&& other) noexcept = default;
  GpuAlone& operator=(GpuAlone&&) = delete;
  ~GpuAlone();

 private:
  explicit GpuAlone(std::unique_lock<std::shared_mutex> lock);

  std::unique_lock<std::shared_mutex> lock_;
};

}  // namespace g4v::ort
