// Looks at generated frames before anybody sees them: the bundle's own checker and the host's.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "bundle/bundle.h"
#include "bundle/placement.h"
#include "chat/options.h"
#include "ort/session.h"
#include "video/frames.h"
#include "vision/frame_encoder.h"

namespace g4v {

class FrameChecker {
 public:
  // `encoder` is null, or outlives this. Without a checker in the bundle and without
  // one of the host nothing is checked.
  FrameChecker(std::shared_ptr<ort::Environment> environment, const Bundle& bundle,
               const Placement& placement, FrameEncoder* encoder, HostFrameChecker host);

  // How unsafe each frame is, 0 to 1: the larger of what the two say. Empty where nothing checks.
  // Throws Error(Runtime) where a checker fails or gives other than one number in range a frame.
  std::vector<float> Score(const Frames& frames, ort::RunControl* control);

  struct Verdict {
    int unsafe = 0;  // frames of a score of 0.5 and more
    bool withhold = false;
  };
  Verdict Judge(const Frames& frames, ort::RunControl* control);

 private:
  std::vector<float> ScoreByBundle(const Frames& frames, ort::RunControl* control);

  FrameEncoder* encoder_;
  HostFrameChecker host_;
  double withhold_above_;
  std::optional<ort::Session> session_;
};

}  // namespace g4v
