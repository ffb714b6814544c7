// The threads that a kernel runs on: those of a ThreadPool (kernels/cpu/thread_pool.h), or those of
// the ONNX Runtime session that calls it.
#pragma once

#include <cstdint>

namespace g4v::kernels {

// Runs task(context, 0) ... task(context, count - 1), each once, at most `threads` at a time, and
// returns when all are done. A task never throws.
class Parallel {
 public:
  using Task = void (*)(void* context, int64_t index);

  virtual ~Parallel() = default;
  virtual int threads() const = 0;
  virtual void Run(int64_t count, Task task, void* context) = 0;
};

}  // namespace g4v::kernels
