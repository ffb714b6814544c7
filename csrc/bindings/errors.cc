#include "base/error.h"
#include "bindings/register.h"

namespace g4v::bindings {

namespace py = pybind11;

void RegisterErrors(py::module_&) {
  py::register_local_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      // python/g4v/errors.py has the same codes and knows the class of each.
      const py::object class_of = py::module_::import("g4v.errors").attr("error_for_code");
      py::set_error(class_of(static_cast<int>(error.code())), error.what());
    }
  });
}

}  // namespace g4v::bindings
