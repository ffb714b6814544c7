// From frames to the video tokens of the decoder's prompt.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "bundle/bundle.h"
#include "bundle/placement.h"
#include "video/frames.h"
#include "video/preprocess.h"
#include "vision/abstractor.h"
#include "vision/frame_encoder.h"

namespace g4v {

class VideoEncoder {
 public:
  // `encoder` must outlive this. Throws Error(Bundle) where the bundle has no abstractor.
  VideoEncoder(const std::shared_ptr<ort::Environment>& environment, const Bundle& bundle,
               const Placement& placement, FrameEncoder& encoder);

  // Of a video of so many frames.
  int tokens(int64_t frames) const { return abstractor_.tokens(frames); }
  bool per_frame() const { return abstractor_.per_frame(); }

  // Copies the frames that the encoder sees: `samples` of them, by default the bundle's number, or
  // all where there are no more. Where frames have tokens of their own they are chosen by the bundle's
  // rule, by the second where the view has a rate, and have times: the view's, those of its rate, or
  // those of kAssumedRate. Throws Error(InvalidArgument) where the view is no video, or the
  // number is not 1 to most_samples(), and Error(Video) where they are more than `most_bytes`; 0 = no
  // limit.
  Frames Sample(const FramesView& video, std::optional<int> samples, uint64_t most_bytes) const;
  // Limit of the engines that run here; that of the option "frames" where graphs do, which take any.
  int most_samples() const { return most_samples_; }

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

  // As above, where frames have tokens of their own.
  Encoded EncodePerFrame(const Frames& frames, std::span<const FrameKey> keys, FrameMemory& memory,
                         ort::RunControl* control);

  // Which frames of a video are seen, `count` at most.
  std::vector<int64_t> Choose(const FramesView& video, int count) const;

  // Frames to make room for at once.
  int64_t Most(int64_t frames) const { return std::max<int64_t>(frames, samples_); }

  FrameEncoder& encoder_;
  Abstractor abstractor_;
  int samples_;
  // The rule by which frames are chosen; fps 0: the video's length does not matter.
  BySecond by_second_;
  int most_samples_;
};

std::vector<FrameKey> KeysOf(const Frames& frames);

}  // namespace g4v
