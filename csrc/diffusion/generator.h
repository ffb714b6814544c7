// The video generator: text encoder, denoising loop, VAE decoder.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "bundle/placement.h"
#include "diffusion/request.h"
#include "ort/session.h"
#include "text/tokenizer.h"
#include "video/frames.h"

namespace g4v {

class VideoGenerator {
 public:
  // Starts loading the sessions on a thread of its own; what goes wrong there is thrown by the
  // first Generate. `bundle` and `tokenizer` must outlive the generator. Throws Error(Bundle) where
  // a component is missing.
  VideoGenerator(std::shared_ptr<ort::Environment> environment, const Bundle& bundle,
                 const Tokenizer& tokenizer, Placement placement);

  // Makes one video, uint8 [frames, height, width, 3]; `progress` is called after each denoising
  // step with its number from 1 on. The same request gives the same video. Any number of threads.
  // Throws Error(Cancelled) within one step, or sooner, after control.Terminate(), and
  // Error(InvalidArgument) where the video cannot fit into memory.
  Frames Generate(const VideoRequest& request, ort::RunControl& control,
                  const std::function<void(int)>& progress);

  void WaitUntilReady() const { sessions_.get(); }

  // Whether the text encoder reads `text` to its end.
  bool ReadsWhole(const std::string& text) const;

 private:
  struct Sessions {
    std::unique_ptr<ort::Session> text_encoder;
    std::unique_ptr<ort::Session> unet;
    std::unique_ptr<ort::Session> vae_decoder;
  };

  size_t TextCapacity() const;  // tokens of a text without its bos and eos
  std::vector<int64_t> Tokenize(const std::string& text) const;
  std::vector<float> EncodeText(const VideoRequest& request, bool guided,
                                ort::RunControl& control) const;
  std::vector<float> Denoise(const VideoRequest& request, ort::RunControl& control,
                             const std::function<void(int)>& progress) const;
  Frames Decode(const VideoRequest& request, const std::vector<float>& latents,
                ort::RunControl& control) const;

  const Bundle& bundle_;
  const Tokenizer& tokenizer_;
  const TokenizerSpec& tokens_;
  const TextEncoderSpec& text_encoder_;
  const UnetSpec& unet_;
  const VaeDecoderSpec& vae_decoder_;
  std::shared_future<std::shared_ptr<Sessions>> sessions_;  // its destructor waits for the loading
};

}  // namespace g4v
