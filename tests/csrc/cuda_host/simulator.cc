#include "cuda_host/simulator.h"

#include <ucontext.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <thread>

#include "cuda_host/wgmma.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace g4v::cuda_host {
namespace {

constexpr int kWarp = 32;
constexpr size_t kStackBytes = 256 * 1024;

struct Block;

struct Thread {
  Block* block = nullptr;
  int index = 0;
  CopyGroups copies;
};

// One meeting point, for a warp or a block. Passing is counted in generations.
struct Barrier {
  int expected = 0;
  int arrived = 0;
  uint64_t generation = 0;
  std::unique_ptr<std::condition_variable> changed;  // for threads
};

struct Warp {
  Barrier barrier;
  Lane lanes[kWarp];
  WarpProducts products;
};

struct Block {
  int64_t index = 0;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  Barrier barrier;
  unsigned char* shared = nullptr;
  size_t shared_bytes = 0;
  std::vector<PieceState> pieces;  // of shared memory, 16 bytes each
  // Blocks until `barrier` has left `generation`.
  virtual void Wait(Barrier& barrier, uint64_t generation) = 0;
  virtual void Lock() {}
  virtual void Unlock() {}
  virtual void Wake(Barrier&) {}
  virtual ~Block() = default;

  void Prepare(int64_t block_index, const Grid& grid, unsigned char* memory) {
    index = block_index;
    shared = memory;
    shared_bytes = grid.shared_bytes;
    pieces.assign((grid.shared_bytes + 15) / 16, PieceState::kUnwritten);
    threads.resize(static_cast<size_t>(grid.threads));
    warps.resize(static_cast<size_t>(grid.threads / kWarp));
    for (int i = 0; i < grid.threads; ++i) {
      threads[static_cast<size_t>(i)].block = this;
      threads[static_cast<size_t>(i)].index = i;
    }
    for (Warp& warp : warps) warp.barrier.expected = kWarp;
    barrier.expected = grid.threads;
  }

  void CheckEnd() {
    std::vector<WarpProducts*> products;
    for (Warp& warp : warps) products.push_back(&warp.products);
    CheckProductsOfBlock(products);
  }

  template <class Last>
  void Arrive(Barrier& at, const Last& last) {
    Lock();
    const uint64_t generation = at.generation;
    if (++at.arrived == at.expected) {
      last();
      at.arrived = 0;
      ++at.generation;
      Wake(at);
    } else {
      Wait(at, generation);
    }
    Unlock();
  }
};

thread_local Thread* running = nullptr;
Counters counters;

// Fresh for every block, exactly as large as asked for: AddressSanitizer guards both ends. Filled
// with NaNs of every type, because shared memory starts with anything.
struct SharedMemory {
  explicit SharedMemory(size_t bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 1024, bytes) != 0) Fail("out of memory");
    data = static_cast<unsigned char*>(memory);
    std::memset(data, 0xff, bytes);
  }
  ~SharedMemory() { std::free(data); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  unsigned char* data = nullptr;
};

// ---- fibers

struct FiberBlock final : Block {
  struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    const Barrier* waits_for = nullptr;
    uint64_t generation = 0;
    bool finished = false;
    void* fake_stack = nullptr;
  };

  FiberBlock(const Body& the_body, std::mt19937_64& the_random)
      : body(the_body), random(the_random) {}

  void Wait(Barrier& at, uint64_t generation) override {
    Fiber& fiber = fibers[static_cast<size_t>(running->index)];
    fiber.waits_for = &at;
    fiber.generation = generation;
    SwitchToScheduler(fiber, false);
  }

  void Run(const Grid& grid) {
    if (fibers.empty()) {
      fibers.resize(static_cast<size_t>(grid.threads));
      for (Fiber& fiber : fibers) fiber.stack = std::make_unique<char[]>(kStackBytes);
    }
    for (size_t i = 0; i < fibers.size(); ++i) {
      Fiber& fiber = fibers[i];
      fiber.waits_for = nullptr;
      fiber.finished = false;
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = kStackBytes;
      fiber.context.uc_link = nullptr;
      const auto self = reinterpret_cast<uintptr_t>(this);
      makecontext(&fiber.context, reinterpret_cast<void (*)()>(&FiberBlock::Enter), 2,
                  static_cast<unsigned>(self >> 32), static_cast<unsigned>(self));
    }
    size_t unfinished = fibers.size();
    std::vector<size_t> order(warps.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    while (unfinished > 0) {
      bool progress = false;
      std::shuffle(order.begin(), order.end(), random);
      for (const size_t warp : order) {
        // A warp goes on as far as it can by itself: that is further than it would on a GPU, and
        // further than a warp that waits at a barrier it shares with the others.
        for (bool moved = true; moved;) {
          moved = false;
          for (size_t i = warp * kWarp; i < (warp + 1) * kWarp; ++i) {
            Fiber& fiber = fibers[i];
            if (fiber.finished) continue;
            if (fiber.waits_for && fiber.waits_for->generation == fiber.generation) continue;
            SwitchTo(fiber, threads[i]);
            if (fiber.finished) --unfinished;
            moved = progress = true;
          }
        }
      }
      if (!progress) Fail("a barrier is not reached by all threads");
    }
    running = nullptr;
  }

  void SwitchTo(Fiber& fiber, Thread& thread) {
    running = &thread;
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, fiber.stack.get(), kStackBytes);
#endif
    swapcontext(&scheduler, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }

  void SwitchToScheduler(Fiber& fiber, bool forever) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(forever ? nullptr : &fiber.fake_stack, scheduler_stack,
                                   scheduler_stack_bytes);
#endif
    (void)forever;
    swapcontext(&fiber.context, &scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber.fake_stack, nullptr, nullptr);
#endif
  }

  static void Enter(unsigned high, unsigned low) {
    auto* self =
        reinterpret_cast<FiberBlock*>((static_cast<uintptr_t>(high) << 32) | uintptr_t{low});
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &self->scheduler_stack, &self->scheduler_stack_bytes);
#endif
    Fiber& fiber = self->fibers[static_cast<size_t>(running->index)];
    self->body(self->shared);
    fiber.finished = true;
    self->SwitchToScheduler(fiber, true);
  }

  const Body& body;
  std::mt19937_64& random;
  std::vector<Fiber> fibers;
  ucontext_t scheduler;
  const void* scheduler_stack = nullptr;
  size_t scheduler_stack_bytes = 0;
};

// ---- threads

struct ThreadBlock final : Block {
  void Wait(Barrier& at, uint64_t generation) override {
    std::unique_lock<std::mutex> lock(mutex, std::adopt_lock);
    if (!at.changed->wait_for(lock, std::chrono::seconds(60),
                              [&] { return at.generation != generation; })) {
      Fail("a barrier is not reached by all threads");
    }
    lock.release();
  }
  void Lock() override { mutex.lock(); }
  void Unlock() override { mutex.unlock(); }
  void Wake(Barrier& at) override { at.changed->notify_all(); }

  std::mutex mutex;
};

std::vector<int64_t> ShuffledBlocks(int64_t blocks, std::mt19937_64& random) {
  std::vector<int64_t> order(static_cast<size_t>(blocks));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  std::shuffle(order.begin(), order.end(), random);
  return order;
}

}  // namespace

void RunBlocks(const Grid& grid, const Body& body, uint64_t seed) {
  std::mt19937_64 random(seed);
  FiberBlock block(body, random);
  for (const int64_t index : ShuffledBlocks(grid.blocks, random)) {
    const SharedMemory shared(grid.shared_bytes);
    block.threads.clear();
    block.warps.clear();
    block.barrier = Barrier();
    block.Prepare(index, grid, shared.data);
    block.Run(grid);
    block.CheckEnd();
  }
}

void RunBlocksInThreads(const Grid& grid, const Body& body) {
  for (int64_t index = 0; index < grid.blocks; ++index) {
    const SharedMemory shared(grid.shared_bytes);
    ThreadBlock block;
    block.Prepare(index, grid, shared.data);
    block.barrier.changed = std::make_unique<std::condition_variable>();
    for (Warp& warp : block.warps) {
      warp.barrier.changed = std::make_unique<std::condition_variable>();
    }
    std::vector<std::thread> threads;
    for (Thread& thread : block.threads) {
      threads.emplace_back([&] {
        running = &thread;
        body(shared.data);
      });
    }
    for (std::thread& thread : threads) thread.join();
    block.CheckEnd();
  }
}

int ThreadIndex() { return running->index; }
int BlockIndex() { return static_cast<int>(running->block->index); }

void SyncBlock() {
  running->block->Arrive(running->block->barrier, [] {});
}

void MeetWarp(Lane& mine, Together together) {
  Thread* const thread = running;
  Warp& warp = thread->block->warps[static_cast<size_t>(thread->index / kWarp)];
  Lane& slot = warp.lanes[thread->index % kWarp];
  // Nobody else touches this slot before all lanes have arrived, and nobody arrives at the next
  // meeting before having left this one with its words.
  slot = mine;
  thread->block->Arrive(warp.barrier, [&] { together(warp.lanes); });
  mine = slot;
}

void CheckShared(const void* pointer, size_t bytes) {
  const auto* at = static_cast<const unsigned char*>(pointer);
  const Block& block = *running->block;
  if (at < block.shared || at + bytes > block.shared + block.shared_bytes) {
    Fail("an access lies outside of shared memory");
  }
}

const void* SharedBase() { return running->block->shared; }

PieceState& StateOf(const void* shared) {
  Block& block = *running->block;
  return block
      .pieces[static_cast<size_t>(static_cast<const unsigned char*>(shared) - block.shared) / 16];
}

WarpProducts& Products() {
  return running->block->warps[static_cast<size_t>(running->index / kWarp)].products;
}

CopyGroups& Copies() { return running->copies; }
Counters& Count() { return counters; }

void Fail(const char* message) {
  std::fprintf(stderr, "simulator: %s\n", message);
  std::abort();
}

}  // namespace g4v::cuda_host
