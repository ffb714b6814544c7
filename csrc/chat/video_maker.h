// Who makes the videos of a queue: the bundle's generator, or one of the host.
#pragma once

#include <functional>
#include <memory>

#include "chat/host_generator.h"
#include "chat/limits.h"
#include "chat/stream_state.h"
#include "diffusion/generator.h"

namespace g4v {

// Looks at pictures that are to be handed on before the video is whole, as at whole videos. Throws
// where they may not be.
using FrameGate = std::function<void(const Frames&)>;

class VideoMaker {
 public:
  virtual ~VideoMaker() = default;

  // Makes one video, and tells its progress to the stream. Nothing that can be seen goes there but
  // through the gate.
  virtual HostVideo Make(const VideoRequest& request, const std::shared_ptr<StreamState>& stream,
                         int index, const FrameGate& gate) = 0;
  // Of the host: several are made at once, a stream that stops does not wait for them, and an Error of
  // Make is no fault of the turn.
  virtual StreamState::JobKind kind() const = 0;
};

class BundleVideoMaker : public VideoMaker {
 public:
  explicit BundleVideoMaker(VideoGenerator& generator) : generator_(generator) {}
  HostVideo Make(const VideoRequest& request, const std::shared_ptr<StreamState>& stream, int index,
                 const FrameGate& gate) override;
  StreamState::JobKind kind() const override { return StreamState::JobKind::kOwn; }

 private:
  VideoGenerator& generator_;
};

class HostVideoMaker : public VideoMaker {
 public:
  HostVideoMaker(HostGenerator generator, const Limits& limits)
      : generator_(std::move(generator)), limits_(limits) {}
  // Throws Error(Generator) where the frames are no video, or more than the limits allow.
  HostVideo Make(const VideoRequest& request, const std::shared_ptr<StreamState>& stream, int index,
                 const FrameGate& gate) override;
  StreamState::JobKind kind() const override { return StreamState::JobKind::kHost; }

 private:
  const HostGenerator generator_;
  const Limits limits_;
};

}  // namespace g4v
