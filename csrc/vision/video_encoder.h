// From frames to the video tokens of the decoder's prompt.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bundle/bundle.h"
#include "bundle/placement.h"
#include "video/frames.h"
#include "vision/abstractor.h"
#include "vision/frame_encoder.h"

namespace g4v {

class VideoEncoder {
 public:
  // `encoder` must outlive this. Throws Error(Bundle) where the bundle has no abstractor.
  VideoEncoder(const std::shared_ptr<ort::Environment>& environment, const Bundle& bundle,
               const Placement& placement, FrameEncoder& encoder);

  int tokens() const { return abstractor_.tokens(); }

  // Copies the frames that the encoder sees: all of them where there are at most as many as it
  // samples. Throws Error(InvalidArgument) where the view is no video.
  Frames Sample(const FramesView& video) const;

  struct Encoded {
    VideoTokens tokens;
    int64_t frames = 0;  // that were encoded; the others were in the memory
  };

  // `keys`: one a frame, as KeysOf gives them. `memory`: of the chat; it is used where the
  // bundle allows for it and the encoder sees frames one by one.
  Encoded Encode(const Frames& frames, std::span<const FrameKey> keys, FrameMemory& memory,
                 ort::RunControl* control);

 private:
  // Encodes the frames that `memory` lacks.
  Encoded EncodeMissing(const Frames& frames, std::span<const FrameKey> keys, FrameMemory& memory,
                        ort::RunControl* control);

  FrameEncoder& encoder_;
  Abstractor abstractor_;
  int samples_;
};

std::vector<FrameKey> KeysOf(const Frames& frames);

}  // namespace g4v
