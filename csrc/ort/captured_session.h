// A graph of one input that grows by equal blocks, run as CUDA graphs: one for each number of
// blocks, captured at its first run and replayed from then on.
//
// What ONNX Runtime's CUDA provider requires, and how this class meets it (checked in the sources
// and in the libraries of release 1.31.1):
//   * Every node on the provider, but for those on the CPU that compute shapes; no control flow.
//     Loading refuses other graphs.
//   * Tensors of each graph at the addresses and in the shapes of its capture: input and output
//     live in device memory of this class, allocated once, before any capture, in the arena of
//     another session: what this session's arena hands out again belongs to captured graphs too.
//   * One thread: the provider keeps captured graphs by thread, and none may run beside another.
//     All runs are on a thread of this class.
//   * Runs ahead of a capture, which allocate what the capture must not: one here, kernel by
//     kernel, whose result a call can have without a capture, and more that the library makes by
//     itself.
//   * No other work on a GPU during a capture: see gpu_work.h. Where another thread is at work, a
//     later call captures.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ort/device_copy.h"
#include "ort/session.h"
#include "ort/worker.h"

namespace g4v::ort {

class CapturedSession {
 public:
  // A further number of blocks is launched kernel by kernel: each graph keeps device memory for as
  // long as the session lives.
  static constexpr int kMostGraphs = 32;

  // Rows of the input. The same stamp promises the same values; 0 promises nothing.
  struct Block {
    const float* values;
    uint64_t stamp;
  };

  // What one run reads and writes, all float32.
  struct Call {
    std::string input;
    std::vector<int64_t> block_shape;  // the input is [blocks, *block_shape]
    std::span<const Block> blocks;     // 1 or more
    int64_t most_blocks;               // at the first call: room for as many is made
    std::string output;
    TensorView result;  // the host's, of the same shape in every call
  };

  // Throws as Session does, and Error(Runtime) that says what to do where the graph cannot be
  // captured. On the CPU: Error(InvalidArgument).
  CapturedSession(std::shared_ptr<Environment> environment, const GraphFile& graph,
                  int most_graphs = kMostGraphs);
  CapturedSession(const CapturedSession&) = delete;
  CapturedSession& operator=(const CapturedSession&) = delete;

  const Session& session() const { return session_; }
  int graphs() const { return graphs_.load(); }  // captured so far

  // From any thread; calls are done one after the other. Blocks whose stamps are those of the last
  // call, in the same places, are not copied to the device again. Throws Error(Cancelled) where
  // `control` says so before the run or after it, Error(InvalidArgument) for more blocks than there
  // is room for, and Error(Runtime) where a capture fails: from then on for every call.
  void Run(const Call& call, RunControl* control = nullptr);

 private:
  // The runs with one number of blocks.
  struct Shape {
    std::unique_ptr<DeviceTensor> input;
    std::unique_ptr<RunControl> graph;  // null until it is captured
  };

  // All on the worker's thread.
  void RunHere(const Call& call);
  void Reserve(const Call& call);
  void Upload(const Call& call);
  // Captures and replays, unless other threads are at work.
  void Capture(int64_t blocks, std::span<const NamedTensor> inputs,
               std::span<const NamedTensor> outputs);

  std::shared_ptr<Environment> environment_;
  int most_graphs_;
  DeviceCopy copy_;
  Session session_;
  RunControl one_by_one_;
  std::atomic<int> graphs_{0};
  std::string failure_;  // of a capture
  std::vector<int64_t> block_shape_;
  std::vector<uint64_t> stamps_;  // of the blocks on the device, as many as there is room for
  std::unique_ptr<DeviceTensor> memory_;
  std::unique_ptr<DeviceTensor> result_;
  std::map<int64_t, Shape> shapes_;
  Worker worker_;  // last: its thread ends before what it works on
};

}  // namespace g4v::ort
