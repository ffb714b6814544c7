#include "chat/stream.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "bindings/frames_array.h"
#include "bindings/gil.h"
#include "bindings/register.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;

void RegisterEvents(py::module_& module) {
  py::class_<TopToken>(module, "TopToken", "A token and its log probability.")
      .def_readonly("id", &TopToken::id)
      .def_readonly("logprob", &TopToken::logprob);
  py::class_<SampledToken>(module, "SampledToken", "A token of the answer.")
      .def_readonly("id", &SampledToken::id)
      .def_readonly("logprob", &SampledToken::logprob)
      .def_readonly("top", &SampledToken::top);
  py::class_<TextEvent>(module, "TextEvent", "A piece of the answer.")
      .def_readonly("text", &TextEvent::text)
      .def_readonly("tokens", &TextEvent::tokens);
  py::class_<VideoPromptEvent>(module, "VideoPromptEvent", "The caption of a video to come.")
      .def_readonly("index", &VideoPromptEvent::index)
      .def_readonly("caption", &VideoPromptEvent::caption);
  py::class_<ProgressEvent>(module, "ProgressEvent", "A denoising step is done.")
      .def_readonly("index", &ProgressEvent::index)
      .def_readonly("step", &ProgressEvent::step)
      .def_readonly("steps", &ProgressEvent::steps)
      .def_property_readonly(
          "preview",
          [](const ProgressEvent& event) {
            return event.preview ? py::object(FramesArray(*event.preview)) : py::none();
          },
          "uint8 [1, H, W, 3], read-only; None without one.");
  py::class_<VideoFramesEvent>(module, "VideoFramesEvent",
                               "Frames of a video, as they are decoded.")
      .def_readonly("index", &VideoFramesEvent::index)
      .def_readonly("first", &VideoFramesEvent::first)
      .def_readonly("total", &VideoFramesEvent::total)
      .def_property_readonly(
          "frames", [](const VideoFramesEvent& event) { return FramesArray(event.frames); },
          "uint8 [T, H, W, 3], read-only.")
      .def_readonly("fps", &VideoFramesEvent::fps);
  py::class_<VideoEvent>(module, "VideoEvent", "A finished video.")
      .def_readonly("index", &VideoEvent::index)
      .def_readonly("caption", &VideoEvent::caption)
      .def_property_readonly(
          "frames", [](const VideoEvent& event) { return FramesArray(event.frames); },
          "uint8 [T, H, W, 3], read-only.")
      .def_readonly("fps", &VideoEvent::fps)
      .def_readonly("seed", &VideoEvent::seed);
  py::class_<WithheldEvent>(module, "WithheldEvent", "A video that is not shown.")
      .def_readonly("index", &WithheldEvent::index)
      .def_readonly("caption", &WithheldEvent::caption)
      .def_readonly("unsafe", &WithheldEvent::unsafe)
      .def_readonly("frames", &WithheldEvent::frames);
  py::class_<VideoFailedEvent>(module, "VideoFailedEvent", "A video that was not made.")
      .def_readonly("index", &VideoFailedEvent::index)
      .def_readonly("caption", &VideoFailedEvent::caption)
      .def_property_readonly(
          "code", [](const VideoFailedEvent& event) { return static_cast<int>(event.code); })
      .def_readonly("message", &VideoFailedEvent::message);
  py::class_<RefusalEvent>(module, "RefusalEvent", "The answer was a refusal.")
      .def_readonly("text", &RefusalEvent::text);
  py::class_<WarningEvent>(module, "WarningEvent", "Something to know; the turn goes on.")
      .def_readonly("text", &WarningEvent::text);
  py::class_<Timings>(module, "Timings", "Milliseconds of the phases of a turn.")
      .def_readonly("queue_ms", &Timings::queue_ms)
      .def_readonly("encode_ms", &Timings::encode_ms)
      .def_readonly("prefill_ms", &Timings::prefill_ms)
      .def_readonly("first_token_ms", &Timings::first_token_ms)
      .def_readonly("decode_ms", &Timings::decode_ms)
      .def_readonly("video_ms", &Timings::video_ms)
      .def_readonly("total_ms", &Timings::total_ms);
  py::class_<DoneEvent>(module, "DoneEvent", "The last event.")
      .def_readonly("prompt_tokens", &DoneEvent::prompt_tokens)
      .def_readonly("cached_tokens", &DoneEvent::cached_tokens)
      .def_readonly("new_tokens", &DoneEvent::new_tokens)
      .def_readonly("drafted_tokens", &DoneEvent::drafted_tokens)
      .def_readonly("accepted_tokens", &DoneEvent::accepted_tokens)
      .def_readonly("tokens", &DoneEvent::tokens)
      .def_readonly("video_frames", &DoneEvent::video_frames)
      .def_readonly("encoded_frames", &DoneEvent::encoded_frames)
      .def_readonly("finish_reason", &DoneEvent::finish_reason)
      .def_readonly("timings", &DoneEvent::timings);
}

std::optional<Event> NextWithin(Stream& stream, std::optional<double> timeout) {
  std::chrono::milliseconds wait{0};
  if (timeout) {
    const double ms = std::isnan(*timeout) ? 0.0 : std::clamp(*timeout * 1e3, 0.0, 1e9);
    wait = std::chrono::milliseconds(std::llround(ms));
  }
  {
    const GilRelease release;
    if (!timeout || stream.Wait(wait)) return stream.Next();
  }
  py::set_error(PyExc_TimeoutError, "no event came in time");
  throw py::error_already_set();
}

Event NextOrStop(Stream& stream) {
  std::optional<Event> event = NextWithin(stream, std::nullopt);
  if (!event) throw py::stop_iteration();
  return std::move(*event);
}

}  // namespace

std::optional<FramesView> FramesArgument(const py::object& frames, const char* name) {
  if (frames.is_none()) return std::nullopt;
  const auto refuse = [name](const std::string& fix) {
    throw Error(Code::InvalidArgument,
                std::string(name) + " must be a C-contiguous uint8 array [T, H, W, 3]: " + fix);
  };
  if (!py::isinstance<py::array>(frames)) refuse("pass a NumPy array");
  const py::array array = py::reinterpret_borrow<py::array>(frames);
  if (!py::isinstance<py::array_t<uint8_t>>(array)) {
    refuse("its dtype is " + std::string(py::str(array.dtype())) +
           "; convert it with .astype(numpy.uint8)");
  }
  if (array.ndim() != 4 || array.shape(3) != 3) {
    refuse("its shape is " + std::string(py::str(array.attr("shape"))));
  }
  if ((array.flags() & py::array::c_style) == 0) refuse("copy it with numpy.ascontiguousarray");
  return FramesView{static_cast<const uint8_t*>(array.data()), array.shape(0), array.shape(1),
                    array.shape(2)};
}

py::array_t<uint8_t> FramesArray(const Frames& frames) {
  using Pixels = std::shared_ptr<const std::vector<uint8_t>>;
  auto* const owned = new Pixels(frames.pixels);
  const py::capsule owner(owned, [](void* pixels) { delete static_cast<Pixels*>(pixels); });
  py::array_t<uint8_t> array(std::vector<py::ssize_t>{frames.count, frames.height, frames.width, 3},
                             (*owned)->data(), owner);
  array.attr("flags").attr("writeable") = false;
  return array;
}

void RegisterStream(py::module_& module) {
  RegisterEvents(module);
  const py::call_guard<GilRelease> release;
  py::class_<Stream, std::shared_ptr<Stream>>(module, "Stream", "The events of one turn, in order.")
      .def("next", &NextWithin, py::arg("timeout") = py::none(),
           "The next event; None after the last one; TimeoutError where none came in time (s).")
      .def("cancel", &Stream::Cancel, release, "Stops the turn; harmless when repeated.")
      .def("close", &Stream::Close, release, "Cancels and waits until the turn has stopped.")
      .def("__iter__", [](const std::shared_ptr<Stream>& self) { return self; })
      .def("__next__", &NextOrStop);
}

}  // namespace g4v::bindings
