#include "chat/options.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>

#include "base/error.h"
#include "bindings/frames_array.h"
#include "bindings/register.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;

// A constructor whose keywords are the fields: Options(a=1, b=None).
template <class T>
T FromKeywords(const py::kwargs& values) {
  py::object self = py::cast(T{});
  for (const auto& [name, value] : values) {
    if (!py::hasattr(self, name)) {
      throw py::type_error("unexpected keyword argument " + std::string(py::str(name)));
    }
    py::setattr(self, name, value);
  }
  return self.cast<T>();
}

using Floats = py::array_t<float, py::array::c_style>;

py::object GetLatents(const VideoOptions& options) {
  if (!options.latents) return py::none();
  return Floats(options.latents->shape, options.latents->values.data());
}

void SetLatents(VideoOptions& options, const py::object& value) {
  options.latents.reset();
  if (value.is_none()) return;
  if (!py::isinstance<Floats>(value) || py::cast<Floats>(value).ndim() != 4) {
    throw Error(Code::InvalidArgument,
                "latents must be a C-contiguous float32 array [channels, frames, height, width]");
  }
  const auto array = py::cast<Floats>(value);
  InitialLatents latents;
  latents.values.assign(array.data(), array.data() + array.size());
  std::copy_n(array.shape(), 4, latents.shape.begin());
  options.latents = std::move(latents);
}

py::object GetVideo(const VideoOptions& options) {
  return options.video ? py::object(FramesArray(*options.video)) : py::none();
}

void SetVideo(VideoOptions& options, const py::object& value) {
  options.video.reset();
  const std::optional<FramesView> view = FramesArgument(value, "video");
  if (!view) return;
  CheckVideo(*view);
  options.video = CopyFrames(*view);
}

}  // namespace

void RegisterOptions(py::module_& module) {
  py::class_<Limits>(module, "Limits", "How much a conversation may take; 0 means no limit.")
      .def(py::init(&FromKeywords<Limits>))
      .def_readwrite("max_decoded_bytes", &Limits::max_decoded_bytes)
      .def_readwrite("max_prompt_tokens", &Limits::max_prompt_tokens)
      .def_readwrite("max_chat_kv_bytes", &Limits::max_chat_kv_bytes)
      .def_readwrite("max_turn_ms", &Limits::max_turn_ms)
      .def_readwrite("max_videos", &Limits::max_videos)
      .def_readwrite("max_video_pixels", &Limits::max_video_pixels);
  py::class_<TextOptions>(module, "TextOptions", "Sampling; None means the bundle's default.")
      .def(py::init(&FromKeywords<TextOptions>))
      .def_readwrite("max_new_tokens", &TextOptions::max_new_tokens)
      .def_readwrite("temperature", &TextOptions::temperature)
      .def_readwrite("top_k", &TextOptions::top_k)
      .def_readwrite("top_p", &TextOptions::top_p)
      .def_readwrite("repetition_penalty", &TextOptions::repetition_penalty);
  py::class_<VideoOptions>(module, "VideoOptions", "Videos; None means the bundle's default.")
      .def(py::init(&FromKeywords<VideoOptions>))
      .def_readwrite("seed", &VideoOptions::seed)
      .def_readwrite("frames", &VideoOptions::frames)
      .def_readwrite("width", &VideoOptions::width)
      .def_readwrite("height", &VideoOptions::height)
      .def_readwrite("fps", &VideoOptions::fps)
      .def_readwrite("steps", &VideoOptions::steps)
      .def_readwrite("guidance_scale", &VideoOptions::guidance_scale)
      .def_readwrite("negative_prompt", &VideoOptions::negative_prompt)
      .def_readwrite("scheduler", &VideoOptions::scheduler)
      .def_property("latents", &GetLatents, &SetLatents)
      .def_property("video", &GetVideo, &SetVideo)
      .def_readwrite("strength", &VideoOptions::strength)
      .def_readwrite("preview_every", &VideoOptions::preview_every)
      .def_readwrite("stream_frames", &VideoOptions::stream_frames)
      .def_readwrite("prompt_weighting", &VideoOptions::prompt_weighting);
}

}  // namespace g4v::bindings
