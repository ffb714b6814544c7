// The video generator: text encoder, VAE encoder where a video is made from another one, denoising
// loop, VAE decoder.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "bundle/placement.h"
#include "diffusion/request.h"
#include "diffusion/text_encoder.h"
#include "diffusion/video_shape.h"
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
  // step with its number, from 1 to the number of steps that are done. The same request gives the same video. Any number of threads.
  // Throws Error(Cancelled) within one step, or sooner, after control.Terminate(), and
  // Error(InvalidArgument) where the video cannot fit into memory.
  Frames Generate(const VideoRequest& request, ort::RunControl& control,
                  const std::function<void(int)>& progress);

  void WaitUntilReady() const { sessions_.get(); }

  // Whether the text encoder reads `text` to its end.
  bool ReadsWhole(const std::string& text) const { return text_encoder_.ReadsWhole(text); }

 private:
  struct Sessions {
    std::unique_ptr<ort::Session> denoiser;  // the UNet or the transformer
    std::unique_ptr<ort::Session> vae_decoder;
    std::unique_ptr<ort::Session> vae_encoder;  // none where the bundle has none
  };

  TextStates EncodeText(const VideoRequest& request, bool guided, ort::RunControl& control) const;
  std::vector<float> Denoise(const VideoRequest& request, ort::RunControl& control,
                             const std::function<void(int)>& progress) const;

  const Bundle& bundle_;
  TextEncoder text_encoder_;
  const Denoiser denoiser_;
  const VaeDecoderSpec& vae_decoder_;
  std::shared_future<std::shared_ptr<Sessions>> sessions_;  // its destructor waits for the loading
};

}  // namespace g4v
