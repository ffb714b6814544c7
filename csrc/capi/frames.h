// The frames of a C host.
#pragma once

#include <optional>

#include "base/error.h"
#include "capi/call.h"
#include "g4v/g4v.h"
#include "video/frames.h"

namespace g4v::capi {

inline std::optional<FramesView> ViewOf(const g4v_frames* frames) {
  if (!frames) return std::nullopt;
  return FramesView{frames->pixels, frames->count, frames->height, frames->width};
}

// Frames with the times of a struct, which it holds.
class TimedFrames {
 public:
  TimedFrames(const g4v_frames* frames, const g4v_frame_times* times) : view_(ViewOf(frames)) {
    if (times) SetTimes(Read(times, g4v_frame_times{}, "g4v_frame_times"));
  }
  TimedFrames(const TimedFrames&) = delete;
  TimedFrames& operator=(const TimedFrames&) = delete;

  const std::optional<FramesView>& view() const { return view_; }

 private:
  void SetTimes(const g4v_frame_times& times) {
    if (!view_) throw Error(Code::InvalidArgument, "frame_times is of frames, and there are none");
    if ((times.fps != 0.0) == (times.seconds != nullptr)) {
      throw Error(Code::InvalidArgument, "frame_times needs either fps or seconds");
    }
    if (!times.seconds) {
      if (times.duration != 0.0) {
        throw Error(Code::InvalidArgument, "duration of frame_times is beside seconds, not fps");
      }
      view_->rate = times.fps;
      return;
    }
    CheckVideo(*view_);  // so that there are as many seconds to read
    times_ = {{times.seconds, times.seconds + view_->count}, times.duration};
    view_->times = &times_;
  }

  std::optional<FramesView> view_;
  FrameTimes times_;
};

}  // namespace g4v::capi
