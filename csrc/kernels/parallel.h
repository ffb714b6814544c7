// How a kernel spreads its work: over our own threads, or over those of the caller's engine.
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
