// The video encoder's first half: from frames to features. The abstractor and the frame checker
// read them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bundle/bundle.h"
#include "bundle/placement.h"
#include "ort/session.h"
#include "video/frames.h"
#include "video/preprocess.h"

namespace g4v {

class FrameEncoder {
 public:
  // Throws Error(Bundle) where the bundle has no encoder.
  FrameEncoder(std::shared_ptr<ort::Environment> environment, const Bundle& bundle,
               const Placement& placement);

  struct Features {
    std::vector<float> values;   // row-major
    std::vector<int64_t> shape;  // [T, N, d]
  };

  //   encoder: pixel_values [T, 3, S, S] -> features [T, N, d]
  Features Encode(const Frames& frames, ort::RunControl* control);

  // Whether the features of a frame do not depend on those around it.
  bool frame_by_frame() const { return spec_.flavour != "mplug-owl-video"; }
  int tokens_per_frame() const { return spec_.tokens_per_frame; }
  std::vector<int64_t> ShapeOf(int64_t frames) const;  // of their features

 private:
  EncoderSpec spec_;
  FrameFormat format_;
  ort::Session session_;
};

}  // namespace g4v
