// Options of chats and videos. An empty field means the bundle's default; a value out of its range
// is Error(InvalidArgument) that names the option and the range.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "decoder/sampler.h"
#include "diffusion/request.h"
#include "video/frames.h"

namespace g4v {

// The host's own frame checker: from the frames of a generated video to how unsafe each of them is, 0
// to 1. What it throws ends the turn, and the video is not shown. Videos are checked one after the other on a thread of
// the assistant; Assistant::ScoreFrames asks on the thread of its caller.
using HostFrameChecker = std::function<std::vector<float>(const Frames&)>;

struct LoadOptions {
  std::string device = "auto";            // "auto", "cpu" or "cuda"
  int threads = 0;                        // threads of one operator; 0 = one for each usable core
  std::string onnxruntime;                // library file; empty = search
  std::vector<std::string> library_dirs;  // folders that may hold ONNX Runtime
  Verify verify = Verify::Auto;           // how thoroughly the files are checked
  HostFrameChecker frame_checker = {};    // beside the bundle's frame checker; may be empty
  // Folders that may hold what engines need: the provider plugin of TensorRT for RTX with its
  // libraries, or the libraries of TensorRT.
  std::vector<std::string> provider_dirs = {};
  // The abstractor's runs are captured as CUDA graphs, one for each number of frames, and replayed.
  // Refused where there is no abstractor that the CUDA provider runs as a whole.
  bool cuda_graphs = false;
};

struct ChatOptions {
  // Two chats with one seed and the same turns give the same answers and videos; none = drawn at
  // random. The k-th video of a chat (from 0) has seed * 1000003 + k (modulo 2^64).
  std::optional<uint64_t> seed;
  TextOptions text;
  VideoOptions video;
  // Stands at the start of the chat in place of the bundle's; white space around it is taken off,
  // and "" is none. Special tokens in it are plain text.
  std::optional<std::string> system = {};
};

// Options of one turn; set fields override the chat's.
struct TurnOptions {
  TextOptions text;
  VideoOptions video;
  // How many frames of the question's video are looked at; none = the bundle's number.
  std::optional<int> frames = {};
};

}  // namespace g4v
