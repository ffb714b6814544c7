#include "chat/video_encoder.h"

#include "video/preprocess.h"

namespace g4v {

VideoEncoder::VideoEncoder(std::shared_ptr<ort::Environment> environment, const Bundle& bundle,
                           const ort::SessionOptions& options, FrameEncoder& encoder)
    : encoder_(encoder),
      abstractor_(Require(bundle.manifest().components.abstractor, "abstractor")),
      samples_(bundle.manifest().frame_samples),
      abstractor_session_(std::move(environment),
                          GraphPath(bundle, abstractor_.variants, options.device, "abstractor"),
                          options) {}

Frames VideoEncoder::Sample(const FramesView& video) const {
  CheckVideo(video);
  if (video.count <= samples_) return CopyFrames(video);
  return CopyFrames(video, SampleFrames(video.count, samples_));
}

VideoTokens VideoEncoder::Encode(const Frames& frames, ort::RunControl* control) {
  FrameEncoder::Features features = encoder_.Encode(frames, control);
  const ort::NamedTensor in{"features", ort::View(features.values, features.shape)};
  auto tokens =
      std::make_shared<std::vector<float>>(static_cast<size_t>(abstractor_.output_tokens) *
                                           static_cast<size_t>(abstractor_.output_size));
  const ort::NamedTensor out{
      "video_tokens", ort::View(*tokens, {abstractor_.output_tokens, abstractor_.output_size})};
  abstractor_session_.Run({&in, 1}, {&out, 1}, control);
  return tokens;
}

}  // namespace g4v
