// From frames to the video tokens of the decoder's prompt.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bundle/bundle.h"
#include "chat/frame_encoder.h"
#include "ort/session.h"
#include "video/frames.h"

namespace g4v {

// Rows of the decoder's embedding space, row-major [tokens, hidden_size].
using VideoTokens = std::shared_ptr<const std::vector<float>>;

class VideoEncoder {
 public:
  // `encoder` must outlive this. Throws Error(Bundle) where the bundle has no abstractor.
  VideoEncoder(std::shared_ptr<ort::Environment> environment, const Bundle& bundle,
               const ort::SessionOptions& options, FrameEncoder& encoder);

  int tokens() const { return abstractor_.output_tokens; }

  // Copies the frames that the encoder sees: all of them where there are at most as many as it
  // samples. Throws Error(InvalidArgument) where the view is no video.
  Frames Sample(const FramesView& video) const;

  //   abstractor: features [T, N, d] -> video_tokens [tokens, hidden_size]
  VideoTokens Encode(const Frames& frames, ort::RunControl* control);

 private:
  FrameEncoder& encoder_;
  AbstractorSpec abstractor_;
  int samples_;
  ort::Session abstractor_session_;
};

}  // namespace g4v
