#include "chat/video_maker.h"

#include <string>

#include "base/error.h"
#include "base/option.h"

namespace g4v {
namespace {

// What came from outside of the core. Throws Error(Generator).
void CheckMade(const HostVideo& video, const Limits& limits) {
  try {
    CheckVideo(View(video.frames));
    CheckRange(kFps, video.fps);
  } catch (const Error& error) {
    throw Error(Code::Generator,
                std::string("the generator's video cannot be used: ") + error.what());
  }
  const auto pixels = static_cast<uint64_t>(video.frames.count) *
                      static_cast<uint64_t>(video.frames.height) *
                      static_cast<uint64_t>(video.frames.width);
  if (limits.max_video_pixels == 0 || pixels <= limits.max_video_pixels) return;
  throw Error(Code::Generator, "the generator's video has " + std::to_string(pixels) +
                                   " pixels, and max_video_pixels is " +
                                   std::to_string(limits.max_video_pixels) +
                                   "; ask for fewer or smaller frames");
}

}  // namespace

HostVideo BundleVideoMaker::Make(const VideoRequest& request,
                                 const std::shared_ptr<StreamState>& stream, int index,
                                 const FrameGate& gate) {
  if (!generator_.ReadsWhole(request)) {
    stream->Push(
        WarningEvent{"the caption is longer than the text encoder reads; its end was ignored"});
  }
  const int steps = request.spec.steps - request.first_step();
  VideoListener listener;
  listener.progress = [&](int step, std::optional<Frames> preview) {
    if (preview) gate(*preview);
    stream->Push(ProgressEvent{index, step, steps, std::move(preview)});
  };
  if (request.stream_frames) {
    listener.decoded = [&](Frames frames, int64_t first) {
      gate(frames);
      stream->Push(VideoFramesEvent{index, static_cast<int>(first), request.spec.frames,
                                    std::move(frames), request.spec.fps});
    };
  }
  Frames frames = generator_.Generate(request, stream->control(), listener);
  return {std::move(frames), request.spec.fps};
}

HostVideo HostVideoMaker::Make(const VideoRequest& request,
                               const std::shared_ptr<StreamState>& stream, int index,
                               const FrameGate& /*gate: its videos are seen whole*/) {
  const auto job = std::make_shared<HostVideoJob>(stream, index);
  struct Over {
    HostVideoJob& job;
    ~Over() { job.Finish(); }
  } over{*job};
  HostVideo video =
      generator_({request.caption, request.seed, request.asked, limits_.max_video_pixels}, job);
  CheckMade(video, limits_);
  return video;
}

}  // namespace g4v
