// How the core runs a decoder itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace g4v {

struct CpuDecoderOptions {
  int threads = 1;         // of a step, the caller's included
  uint64_t kv_memory = 0;  // most bytes of keys and values of all caches; 0 = no limit
  // Of keys and values: "float16", "float32", or "auto": "float32" where the weights are floats,
  // since products of floats are exact enough that rounded keys would be what is seen.
  std::string kv_dtype = "auto";
  std::chrono::microseconds spin{200};  // how long a thread waits awake for the next step
};

}  // namespace g4v
