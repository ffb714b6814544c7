#include "bindings/frame_checker.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>

#include "base/error.h"
#include "bindings/frames_array.h"
#include "bindings/gil.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;

std::vector<float> Ask(const py::object& callable, const Frames& frames) {
  const GilAcquire acquire;
  try {
    using Scores = py::array_t<float, py::array::c_style | py::array::forcecast>;
    const Scores scores = Scores::ensure(CallFromCore(callable, FramesArray(frames)));
    if (!scores || scores.ndim() != 1) {
      throw Error(Code::Runtime, "the frame checker must return one number for each frame");
    }
    return std::vector<float>(scores.data(), scores.data() + scores.size());
  } catch (py::error_already_set& error) {
    const std::string why = py::str(error.value());
    throw Error(Code::Runtime,
                "the frame checker failed: " + std::string(py::str(error.type().attr("__name__"))) +
                    ": " + why);
  }
}

}  // namespace

HostFrameChecker PythonFrameChecker(const py::object& callable) {
  if (callable.is_none()) return {};
  // The last owner may be any thread of the core, without the GIL.
  const std::shared_ptr<py::object> shared(new py::object(callable), [](py::object* object) {
    if (InterpreterEnds()) return;
    const GilAcquire acquire;
    delete object;
  });
  return [shared](const Frames& frames) { return Ask(*shared, frames); };
}

}  // namespace g4v::bindings
