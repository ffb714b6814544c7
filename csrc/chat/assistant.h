// A loaded bundle. One assistant serves any number of chats from any number of threads. In the child
// of a fork that came after the load every function throws Error(Runtime).
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/process.h"
#include "chat/chat.h"
#include "chat/options.h"
#include "chat/stream.h"

namespace g4v {

class Runtime;

class Assistant {
 public:
  // Throws Error(Bundle), Error(Runtime) or Error(InvalidArgument). The video generator's sessions
  // are made in the background; what is wrong with them is thrown by the first video.
  static std::shared_ptr<Assistant> Load(const std::filesystem::path& directory,
                                         const LoadOptions& options = {});
  explicit Assistant(std::shared_ptr<Runtime> runtime);
  ~Assistant();
  Assistant(const Assistant&) = delete;
  Assistant& operator=(const Assistant&) = delete;

  // A new chat. It keeps what it needs of the assistant alive.
  std::shared_ptr<g4v::Chat> Chat(const ChatOptions& options = {});

  // Makes a video of a caption: Progress events, one Video event with index 0, Done. Where a frame
  // checker finds the video unsafe, a Withheld event instead, and then Error(UnsafeVideo). Where the
  // host's own generator makes none, its Error.
  std::shared_ptr<Stream> Generate(const std::string& prompt, const VideoOptions& options = {});

  // The size that options.video must have, unless it is a single frame, for a host that reads it to
  // this size; options.video itself is not looked at. Throws what Generate would throw of the other
  // options, and where no video can be made from another one.
  SourceSize CheckSource(const VideoOptions& options) const;

  // How unsafe each frame looks to those who check generated videos, 0 to 1; from 0.5 on it counts
  // as unsafe. Empty where nothing checks.
  std::vector<float> ScoreFrames(const FramesView& frames);

  // What was loaded: {"name", "assistant", "description", "device", "onnxruntime", "components":
  // {name: {"target", "precision"}}, "context_length", "frame_samples",
  // "frame_sampling" ("fps", "skip_seconds", absent where a video's length does not matter; "rule",
  // absent where it is "spread"; absent as a whole where neither is there),
  // "most_frame_samples" (what TurnOptions::frames may be), "text", "video" (the generation
  // defaults; "video" is absent and "generator" is "host" where the host has its own), "frame_checker": {"withhold_above"}, "limits" (of the load), "licences"}.
  Json Info() const;

  // Bytes of keys and values that all chats hold, what they share counted once; 0 where ONNX
  // Runtime runs the decoder.
  uint64_t kv_bytes() const;

  // The bytes of one of the decoder's tokens within a text, maybe a part of a character; of a special
  // token its name. Empty for an id without a token. They live as long as the assistant.
  std::string_view TokenBytes(int32_t id) const;

  // Waits until everything that loads in the background is loaded; throws what went wrong.
  void WaitUntilReady();

 private:
  Held<Runtime> runtime_;
};

}  // namespace g4v
