// Options of chats and videos. An empty field means the bundle's default; a value out of its range
// is Error(InvalidArgument) that names the option and the range.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "chat/host_generator.h"
#include "chat/limits.h"
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
  // In place of the bundle's text-to-video components, which are not loaded then; may be empty.
  HostGenerator generator = {};
  // Folders that may hold what engines need: the provider plugin of TensorRT for RTX with its
  // libraries, or the libraries of TensorRT.
  std::vector<std::string> provider_dirs = {};
  // The abstractor's runs are captured as CUDA graphs, one for each number of frames, and replayed.
  // Refused where there is no abstractor that the CUDA provider runs as a whole.
  bool cuda_graphs = false;
  int turns = 16;  // answered at once; others wait, the first first
  // Bytes of keys and values of all chats, where the core runs the decoder itself; 0 = no limit.
  // Turns and chats beyond it are refused with Error(ContextFull), and an answer ends before it.
  uint64_t kv_memory = 0;
  // Of keys and values, where the core runs the decoder itself: "float16", "float32", or "auto":
  // "float32" where the weights are floats, "float16" where they are codes.
  std::string kv_dtype = "auto";
  // Microseconds that the decoder's threads wait awake for the next step, before they sleep.
  int spin_us = 200;
  // Most tokens that are looked up in the conversation and put to the decoder as drafts of the next
  // ones; 0 = none. Answers are the same with any number. Where the core runs the decoder itself.
  int prompt_lookup = 5;
  Limits limits = {};
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
  std::optional<uint64_t> seed = {};  // in place of the chat's, for this answer and its videos
  // The answer ends before the first of these texts, at most 16, that it comes to.
  std::vector<std::string> stop = {};
  // How many of the likeliest tokens are told beside each sampled one, 0 to 20, with logarithms of
  // their probabilities; none = nothing is told.
  std::optional<int> logprobs = {};
  bool make_videos = true;  // false: captions are told, and no videos made of them
  // Beside those of the load, the tighter one holds; 0 = no others.
  int max_turn_ms = 0;
  int max_videos = 0;
  // Milliseconds that the caller spent on the turn before Send, such as on decoding: they count for
  // max_turn_ms.
  double spent_ms = 0;
};

}  // namespace g4v
