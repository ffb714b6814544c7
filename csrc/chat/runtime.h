// The components of a bundle, loaded and ready to run: what the chats of an assistant share.
// Immutable after the load.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "chat/frame_checker.h"
#include "chat/options.h"
#include "chat/prompt.h"
#include "chat/video_queue.h"
#include "decoder/decoder.h"
#include "diffusion/generator.h"
#include "vision/frame_encoder.h"
#include "vision/video_encoder.h"

namespace g4v {

class TurnQueue;

class Runtime {
 public:
  Runtime(const std::filesystem::path& directory, const LoadOptions& options);
  ~Runtime();

  const Manifest& manifest() const { return bundle_.manifest(); }
  const std::shared_ptr<ort::Environment>& environment() const { return environment_; }
  const ort::Targets& targets() const { return placement_.targets; }
  // Throws Error(Bundle) where a file that is still read was written to.
  void CheckUnchanged() const { bundle_.CheckUnchanged(); }

  // Each throws Error(Bundle) that names what the bundle lacks.
  Decoder& decoder();
  const Tokenizer& tokenizer() const;
  const PromptTemplate& prompt() const;
  const TextGenerationSpec& text_defaults() const;
  VideoEncoder& video_encoder();
  FrameChecker& frame_checker() { return *frame_checker_; }
  // The bundle's; null where it has none, or the host has its own.
  VideoGenerator* generator() { return generator_.get(); }
  VideoQueue& queue();
  TurnQueue& turns();
  int prompt_lookup() const { return prompt_lookup_; }
  const Limits& limits() const { return limits_; }

  // How a video with these options is made, without its caption and seed. Throws
  // Error(InvalidArgument) for an option that cannot be obeyed.
  VideoRequest ResolveVideo(const VideoOptions& first, const VideoOptions& second) const;
  bool sees_videos() const { return video_encoder_ != nullptr; }
  bool makes_videos() const { return maker_ != nullptr; }
  bool has_host_generator() const { return makes_videos() && !generator_; }

 private:
  Bundle bundle_;
  std::shared_ptr<ort::Environment> environment_;
  Placement placement_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Tokenizer> caption_tokenizer_;
  std::optional<PromptTemplate> prompt_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<FrameEncoder> frame_encoder_;  // the two after it read its features
  std::unique_ptr<VideoEncoder> video_encoder_;
  std::unique_ptr<FrameChecker> frame_checker_;
  std::unique_ptr<VideoGenerator> generator_;
  std::unique_ptr<VideoMaker> maker_;  // uses the generator before it, or the host's
  int prompt_lookup_;
  const Limits limits_;
  std::unique_ptr<TurnQueue> turns_;   // after what its turns use
  std::unique_ptr<VideoQueue> queue_;  // likewise; its threads wake the queue of turns
};

}  // namespace g4v
