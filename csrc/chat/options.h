// Options of chats and videos. An empty field means the bundle's default; a value out of its range
// is Error(InvalidArgument) that names the option and the range.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bundle/bundle.h"

namespace g4v {

struct LoadOptions {
  std::string device = "auto";            // "auto", "cpu" or "cuda"
  int threads = 0;                        // threads of one operator; 0 = one for each usable core
  std::string onnxruntime;                // library file; empty = search
  std::vector<std::string> library_dirs;  // folders that may hold ONNX Runtime
  Verify verify = Verify::Auto;           // how thoroughly the files are checked
};

struct TextOptions {
  std::optional<int> max_new_tokens;         // 1 ..
  std::optional<double> temperature;         // 0 .. 100; 0 = greedy
  std::optional<int> top_k;                  // 0 ..; 0 = off
  std::optional<double> top_p;               // 0 < .. 1; 1 = off
  std::optional<double> repetition_penalty;  // 0 < .. 10; 1 = off; of this answer's tokens
};

struct VideoOptions {
  std::optional<uint64_t> seed;                // Assistant::Generate only; none = drawn at random
  std::optional<int> frames;                   // 1 .. 1024
  std::optional<int> width;                    // pixels, a multiple of the VAE's scale factor, .. 4096
  std::optional<int> height;                   // likewise
  std::optional<double> fps;                   // 0 < .. 1000; a label of the result
  std::optional<int> steps;                    // 1 .. the training time steps
  std::optional<double> guidance_scale;        // 0 .. 100; 1 = no guidance, half the work
  std::optional<std::string> negative_prompt;  // steers away from this text
  std::optional<std::string> scheduler;        // "ddim" or "dpmsolver++"
};

struct ChatOptions {
  // Two chats with one seed and the same turns give the same answers and videos; none = drawn at
  // random. The k-th video of a chat (from 0) has seed * 1000003 + k (modulo 2^64).
  std::optional<uint64_t> seed;
  TextOptions text;
  VideoOptions video;
};

// Options of one turn; set fields override the chat's.
struct TurnOptions {
  TextOptions text;
  VideoOptions video;
};

}  // namespace g4v
