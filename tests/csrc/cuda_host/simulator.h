// Runs a CUDA kernel's blocks on the CPU: one fiber, or one operating system thread, to a CUDA
// thread.
//
// Fibers (RunBlocks) are quick and take turns in an order drawn from a seed, so that a missing
// barrier shows as a wrong result. Threads (RunBlocksInThreads) are slow and let ThreadSanitizer
// see every unordered access to shared memory. Either way a barrier that some threads of a block or
// a warp never reach is found and ends the program with a message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace g4v::cuda_host {

// A kernel's body; `shared` is the block's shared memory.
using Body = std::function<void(unsigned char* shared)>;

struct Grid {
  int64_t blocks = 0;
  int threads = 0;
  size_t shared_bytes = 0;
};

// In a random order of blocks and of warps.
void RunBlocks(const Grid& grid, const Body& body, uint64_t seed);
void RunBlocksInThreads(const Grid& grid, const Body& body);

// For the twins of the intrinsics: the CUDA thread that is running.
int ThreadIndex();
int BlockIndex();
void SyncBlock();

// All 32 lanes of the running warp meet. Each gives `words`; `together` is called once, by the last
// to arrive, with the words of all lanes, which it may change; each leaves with its own words.
constexpr int kWords = 8;
struct Lane {
  uint32_t words[kWords];
};
using Together = void (*)(Lane (&lanes)[32]);
void MeetWarp(Lane& mine, Together together);

// Aborts with `message` unless `pointer .. + bytes` lies in the running block's shared memory.
void CheckShared(const void* pointer, size_t bytes);
const void* SharedBase();

// What has happened to 16 bytes of shared memory, as far as wgmma is concerned: it reads by the
// "async proxy", which sees a copy only once its thread has waited for it and then fenced.
enum class PieceState : uint8_t { kUnwritten, kCopying, kLanded, kVisible };
PieceState& StateOf(const void* shared);  // of the running block

// Warpgroup products of the running warp: wgmma.h.
struct WarpProducts;
WarpProducts& Products();

// Copies under way of the running thread (cp.async).
struct Copy {
  void* to;
  const void* from;  // null: zeros
};
struct CopyGroups {
  std::vector<std::vector<Copy>> committed;  // oldest first
  std::vector<Copy> open;
  std::vector<const void*> landed;  // since this thread's last FenceProxyAsync
};
CopyGroups& Copies();

// What the runs so far have seen.
struct Counters {
  int64_t matrix_loads = 0;     // 8x8 matrices
  int64_t bank_conflicts = 0;   // extra passes that those loads needed
  int64_t multiplications = 0;  // mma instructions of a warp
};
Counters& Count();

[[noreturn]] void Fail(const char* message);

}  // namespace g4v::cuda_host
