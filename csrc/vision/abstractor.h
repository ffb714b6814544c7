// The video encoder's second half: from the features of frames to the video tokens of the decoder's
// prompt.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "bundle/bundle.h"
#include "bundle/placement.h"
#include "ort/captured_session.h"
#include "ort/session.h"
#include "vision/frame_encoder.h"
#include "vision/frame_memory.h"

namespace g4v {

// Rows of the decoder's embedding space, row-major [tokens, hidden_size].
using VideoTokens = std::shared_ptr<const std::vector<float>>;

class Abstractor {
 public:
  // Throws Error(Bundle) where the bundle has no abstractor. With placement.cuda_graphs: also
  // Error(InvalidArgument) where the CUDA provider does not run it, and what CapturedSession
  // throws.
  Abstractor(const std::shared_ptr<ort::Environment>& environment, const Bundle& bundle,
             const Placement& placement);

  int tokens() const { return spec_.output_tokens; }
  // Whether what is computed of single frames can be kept: the bundle has a graph for it.
  bool keeps_frames() const { return memory_session_.has_value(); }
  // Floats of one frame's keys and values, all layers'.
  int64_t values_per_frame(int64_t tokens_per_frame) const;
  // CUDA graphs captured so far; none without placement.cuda_graphs.
  int cuda_graphs() const { return captured_ ? captured_->graphs() : 0; }

  // features [T, N, d] -> video_tokens [tokens, hidden_size], where no frames are kept. most:
  // frames that CUDA graphs make room for at the first call, where there are to be more.
  VideoTokens Run(const FrameEncoder::Features& features, int64_t most, ort::RunControl* control);

  // The same from the frames in `memory`, after it has computed those that `plan` misses. features:
  // of the missing frames, in the plan's order. keys: of all frames. After an error the memory may
  // be half filled; the next plan then misses what it lacks.
  VideoTokens Run(const FrameEncoder::Features& features, std::span<const FrameKey> keys,
                  const FrameMemory::Plan& plan, FrameMemory& memory, ort::RunControl* control);

 private:
  // input: [T, *], the input of the last graph. stamps: of the T frames; 0 where there is none.
  VideoTokens Tokens(const ort::NamedTensor& input, std::span<const uint64_t> stamps, int64_t most,
                     ort::RunControl* control);
  const ort::Session& session() const { return captured_ ? captured_->session() : *session_; }

  AbstractorSpec spec_;
  std::optional<ort::Session> memory_session_;  // features [T, N, d] -> memory [T, N, C]
  // memory, or features where there is no other graph -> video_tokens; one of the two.
  std::optional<ort::Session> session_;
  std::optional<ort::CapturedSession> captured_;
};

}  // namespace g4v
