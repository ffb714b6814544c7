// The video generator: text encoder, VAE encoder where a video is made from another one, denoising
// loop, VAE decoder.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "bundle/placement.h"
#include "diffusion/preview.h"
#include "diffusion/request.h"
#include "diffusion/text_encoder.h"
#include "diffusion/vae.h"
#include "diffusion/video_shape.h"
#include "ort/session.h"
#include "text/tokenizer.h"
#include "video/frames.h"

namespace g4v {

// Who hears of a video while it is made. What a function throws ends the work.
struct VideoListener {
  // After each denoising step: its number, from 1 to the number of steps that are done, and a
  // preview where one is due.
  std::function<void(int step, std::optional<Frames> preview)> progress;
  DecodedFrames decoded;  // of each piece that the VAE has decoded; empty = nobody asks
};

class VideoGenerator {
 public:
  // Starts loading the sessions on a thread of its own; what goes wrong there is thrown by the
  // first Generate. `bundle` and `tokenizer` must outlive the generator. Throws Error(Bundle) where
  // a component is missing.
  VideoGenerator(std::shared_ptr<ort::Environment> environment, const Bundle& bundle,
                 const Tokenizer& tokenizer, Placement placement);

  // Makes one video, uint8 [frames, height, width, 3]. The same request gives the same video, whoever
  // listens. Any number of threads.
  // Throws Error(Cancelled) within one step, or sooner, after control.Terminate(), and
  // Error(InvalidArgument) where the video cannot fit into memory.
  Frames Generate(const VideoRequest& request, ort::RunControl& control,
                  const VideoListener& listener);

  void WaitUntilReady() const { sessions_.get(); }

  // Whether the text encoder reads the caption to its end.
  bool ReadsWhole(const VideoRequest& request) const;

 private:
  struct Sessions {
    std::unique_ptr<ort::Session> denoiser;  // the UNet or the transformer
    std::unique_ptr<ort::Session> vae_decoder;
    std::unique_ptr<ort::Session> vae_encoder;  // none where the bundle has none
  };

  TextStates EncodeText(const VideoRequest& request, bool guided, ort::RunControl& control) const;
  std::vector<float> Denoise(const VideoRequest& request, ort::RunControl& control,
                             const VideoListener& listener) const;
  Frames Decode(const VideoGenerationSpec& spec, const std::vector<float>& latents, uint64_t seed,
                ort::RunControl& control, const DecodedFrames& decoded) const;
  // uint8 [1, H, W, 3], the longest edge at most kPreviewEdge.
  Frames Preview(const LatentFrame& clean, const VideoRequest& request,
                 ort::RunControl& control) const;

  const Bundle& bundle_;
  const Placement placement_;
  TextEncoder text_encoder_;
  const Denoiser denoiser_;
  const VaeDecoderSpec& vae_decoder_;
  std::shared_future<std::shared_ptr<Sessions>> sessions_;  // its destructor waits for the loading
};

}  // namespace g4v
