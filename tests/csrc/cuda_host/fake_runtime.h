// The machine that fake_runtime/cuda_runtime_api.h pretends to be.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cuda_runtime_api.h"

namespace g4v::cuda_host {

struct FakeGpu {
  int architecture = 90;
  int compiled_for = 90;  // 0: the library has no kernels for it
  int multiprocessors = 132;
  int shared_bytes = 232448;
  bool built_for_90a = true;  // wgmma kernels; they run on 9.0 alone
};

struct FakeMachine {
  int driver_version = 13010;  // 0: no driver
  std::vector<FakeGpu> gpus;
  int current = 0;                                          // of the thread, had it several
  std::vector<std::string> calls;                           // names, in order
  std::vector<cudaStream_t> streams;                        // of the launches
  cudaError_t next_launch = cudaSuccess;                    // what the next launch returns
  std::map<std::pair<const void*, int>, int> shared_limit;  // of kernel and device; 48 KiB at first
};
FakeMachine& Machine();

}  // namespace g4v::cuda_host
