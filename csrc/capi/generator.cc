// A C host's own generator of videos, and what it calls while it makes one.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/option.h"
#include "capi/call.h"
#include "capi/handles.h"

using g4v::Code;
using g4v::Error;
using g4v::capi::Call;
using g4v::capi::Need;

struct g4v_video_job {
  std::shared_ptr<g4v::HostVideoJob> job;
  std::mutex mutex = {};  // for hosts that use several threads
  std::optional<g4v::HostVideo> made = {};
  std::string failure = {};
};

namespace g4v::capi {
namespace {

HostVideo Ask(g4v_generator generator, void* user, const HostVideoRequest& asked,
              const std::shared_ptr<HostVideoJob>& job) {
  const VideoOptions& options = asked.options;
  const g4v_video_request request = {
      asked.caption.c_str(),
      asked.seed,
      asked.max_pixels,
      options.frames.value_or(0),
      options.width.value_or(0),
      options.height.value_or(0),
      options.steps.value_or(0),
      options.fps.value_or(0),
      options.guidance_scale.value_or(-1),
      options.negative_prompt ? options.negative_prompt->c_str() : nullptr};
  g4v_video_job handle{job};
  const int status = generator(user, &request, &handle);
  const std::lock_guard lock(handle.mutex);
  if (status != 0) {
    throw Error(Code::Generator, handle.failure.empty()
                                     ? "the host's generator failed with " + std::to_string(status)
                                     : handle.failure);
  }
  if (!handle.made) {
    throw Error(Code::Generator,
                "the host's generator returned 0 without a video; call g4v_video_job_finish first");
  }
  return std::move(*handle.made);
}

}  // namespace

HostGenerator GeneratorOf(g4v_generator generator, void* user) {
  if (!generator) return {};
  return
      [generator, user](const HostVideoRequest& request, const std::shared_ptr<HostVideoJob>& job) {
        return Ask(generator, user, request, job);
      };
}

}  // namespace g4v::capi

g4v_status g4v_video_job_progress(g4v_video_job* job, int32_t step, int32_t steps,
                                  g4v_error* error) {
  return Call(error, [&] { Need(job, "job").job->Progress(step, steps); });
}

int32_t g4v_video_job_wait(g4v_video_job* job, int64_t timeout_ms) {
  bool cancelled = true;
  constexpr int64_t kLongest = 1'000'000'000;  // days; a longer wait would overflow the clock
  if (!job) return 1;
  const auto wait = std::chrono::milliseconds(std::clamp<int64_t>(timeout_ms, 0, kLongest));
  Call(nullptr, [&] { cancelled = job->job->WaitCancelled(wait); });
  return cancelled ? 1 : 0;
}

g4v_status g4v_video_job_finish(g4v_video_job* job, const g4v_frames* frames, double fps,
                                g4v_error* error) {
  return Call(error, [&] {
    Need(job, "job");
    const g4v_frames& given = Need(frames, "frames");
    const g4v::FramesView view{given.pixels, given.count, given.height, given.width};
    g4v::CheckVideo(view);
    g4v::CheckRange(g4v::kFps, fps);
    g4v::HostVideo video{g4v::CopyFrames(view), fps};
    const std::lock_guard lock(job->mutex);
    job->made = std::move(video);
  });
}

void g4v_video_job_fail(g4v_video_job* job, const char* message) {
  if (!job || !message) return;
  Call(nullptr, [&] {
    const std::lock_guard lock(job->mutex);
    job->failure = message;
  });
}
