#include "bindings/generator.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/error.h"
#include "bindings/gil.h"
#include "bindings/register.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;

// What Python sees of a video that it makes. It may keep it for as long as it likes.
struct PythonJob {
  HostVideoRequest request;
  std::shared_ptr<HostVideoJob> job;

  bool Wait(double seconds) const {
    const double ms = std::isnan(seconds) ? 0.0 : std::clamp(seconds * 1e3, 0.0, 1e9);
    return job->WaitCancelled(std::chrono::milliseconds(std::llround(ms)));
  }
};

[[noreturn]] void RefuseResult() {
  throw Error(
      Code::Generator,
      "the generator must return frames, a uint8 array [T, H, W, 3], and frames per second");
}

HostVideo VideoOf(const py::object& result) {
  if (!py::isinstance<py::tuple>(result) && !py::isinstance<py::list>(result)) RefuseResult();
  const auto pair = py::reinterpret_borrow<py::sequence>(result);
  if (pair.size() != 2) RefuseResult();
  const py::object given = pair[0];
  if (!py::isinstance<py::array_t<uint8_t>>(given)) RefuseResult();
  const auto frames = py::array_t<uint8_t, py::array::c_style>::ensure(given);
  if (!frames || frames.ndim() != 4 || frames.shape(3) != 3) RefuseResult();
  HostVideo video;
  try {
    video.fps = pair[1].cast<double>();
  } catch (const py::cast_error&) {
    RefuseResult();
  }
  const FramesView view{frames.data(), frames.shape(0), frames.shape(1), frames.shape(2)};
  try {
    CheckVideo(view);
  } catch (const Error& error) {
    throw Error(Code::Generator,
                std::string("the generator's video cannot be used: ") + error.what());
  }
  video.frames = CopyFrames(view);
  return video;
}

// An error of g4v keeps its class; another one is told with its own.
[[noreturn]] void Rethrow(const py::error_already_set& error) {
  const std::string why = py::str(error.value());
  if (py::isinstance(error.value(), py::module_::import("g4v.errors").attr("Error"))) {
    const int code = error.value().attr("code").cast<int>();
    for (const CodeName& known : kCodes) {
      if (static_cast<int>(known.code) == code) throw Error(known.code, why);
    }
  }
  throw Error(
      Code::Generator,
      "the generator failed: " + std::string(py::str(error.type().attr("__name__"))) + ": " + why);
}

HostVideo Ask(const py::object& callable, const HostVideoRequest& request,
              const std::shared_ptr<HostVideoJob>& job) {
  const GilAcquire acquire;
  try {
    return VideoOf(CallFromCore(callable, py::cast(PythonJob{request, job})));
  } catch (py::error_already_set& error) {
    Rethrow(error);
  }
}

}  // namespace

HostGenerator PythonGenerator(const py::object& callable) {
  if (callable.is_none()) return {};
  // The last owner may be any thread of the core, without the GIL.
  const std::shared_ptr<py::object> shared(new py::object(callable), [](py::object* object) {
    if (InterpreterEnds()) return;
    const GilAcquire acquire;
    delete object;
  });
  return [shared](const HostVideoRequest& request, const std::shared_ptr<HostVideoJob>& job) {
    return Ask(*shared, request, job);
  };
}

void RegisterGenerator(py::module_& module) {
  const py::call_guard<GilRelease> release;
  const auto option = [](auto VideoOptions::* field) {
    return [field](const PythonJob& self) { return self.request.options.*field; };
  };
  py::class_<PythonJob>(module, "VideoJob", "A video that a generator written in Python makes.")
      .def_property_readonly("caption", [](const PythonJob& self) { return self.request.caption; })
      .def_property_readonly("seed", [](const PythonJob& self) { return self.request.seed; })
      .def_property_readonly("max_pixels",
                             [](const PythonJob& self) { return self.request.max_pixels; })
      .def_property_readonly("frames", option(&VideoOptions::frames))
      .def_property_readonly("width", option(&VideoOptions::width))
      .def_property_readonly("height", option(&VideoOptions::height))
      .def_property_readonly("fps", option(&VideoOptions::fps))
      .def_property_readonly("steps", option(&VideoOptions::steps))
      .def_property_readonly("guidance_scale", option(&VideoOptions::guidance_scale))
      .def_property_readonly("negative_prompt", option(&VideoOptions::negative_prompt))
      .def_property_readonly("cancelled",
                             [](const PythonJob& self) { return self.job->cancelled(); })
      .def(
          "progress",
          [](const PythonJob& self, int step, int steps) { self.job->Progress(step, steps); },
          py::arg("step"), py::arg("steps"), release, "Tells that `step` of `steps` are done.")
      .def("wait", &PythonJob::Wait, py::arg("seconds"), release,
           "Waits until nobody wants the video, at most so long; whether that is so.");
}

}  // namespace g4v::bindings
