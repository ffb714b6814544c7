#include "chat/options.h"

#include <pybind11/stl.h>

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

}  // namespace

void RegisterOptions(py::module_& module) {
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
      .def_readwrite("scheduler", &VideoOptions::scheduler);
}

}  // namespace g4v::bindings
