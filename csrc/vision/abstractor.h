// The video encoder's second half, the connector: from the features of frames to the video tokens of the
// decoder's prompt. One of three ways, by its kind in g4v.json:
//
//   mplug-owl       an abstractor: few tokens of a whole clip. What is kept of a frame are the keys and
//                   values that its features give, where the bundle has a graph for them.
//   pixel-shuffle   tokens of each frame, in the order of the frames. They are what is kept of it.
//   mlp             the same, by a pooling of neighbouring features and a network of two layers.
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

  // Of a video of so many frames.
  int tokens(int64_t frames) const {
    return spec_.output_tokens * (per_frame() ? static_cast<int>(frames) : 1);
  }
  bool per_frame() const { return spec_.per_frame(); }
  // Whether what is computed of single frames can be kept.
  bool keeps_frames() const { return per_frame() || memory_session_.has_value(); }
  // Floats that are kept of one frame: its tokens, or its keys and values of all layers.
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

  // Where per_frame(). Computes tokens of some of the frames that a plan misses into their slots.
  // features: of these frames, in their order.
  void Fill(const FrameEncoder::Features& features,
            std::span<const FrameMemory::Plan::Missing> frames, FrameMemory& memory,
            ort::RunControl* control);
  // Where per_frame(). The tokens of all frames, in their order, from slots that are all filled.
  VideoTokens Gather(const FrameMemory::Plan& plan, FrameMemory& memory) const;

 private:
  // input: [T, *], the input of the last graph. stamps: of the T frames; 0 where there is none.
  VideoTokens Tokens(const ort::NamedTensor& input, std::span<const uint64_t> stamps, int64_t most,
                     ort::RunControl* control);
  const ort::Session& session() const { return captured_ ? captured_->session() : *session_; }

  ConnectorSpec spec_;
  std::optional<ort::Session> memory_session_;  // features [T, N, d] -> memory [T, N, C]
  // memory, or features where there is no other graph -> video_tokens; one of the two.
  std::optional<ort::Session> session_;
  std::optional<ort::CapturedSession> captured_;
};

}  // namespace g4v
