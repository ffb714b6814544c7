#include <filesystem>
#include <new>
#include <system_error>

#include "base/error.h"
#include "bindings/register.h"

namespace g4v::bindings {

namespace py = pybind11;

namespace {

// python/g4v/errors.py has the same codes and knows the class of each.
void Raise(const Error& error) {
  const py::object class_of = py::module_::import("g4v.errors").attr("error_for_code");
  py::set_error(class_of(static_cast<int>(error.code())), error.what());
}

}  // namespace

void RegisterErrors(py::module_&) {
  py::register_local_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      Raise(error);
    } catch (const std::filesystem::filesystem_error& error) {
      Raise(Error(Code::Internal, error.what()));
    } catch (const std::system_error& error) {
      Raise(Error(Code::Internal, std::string("no thread can be started: ") + error.what()));
    } catch (const std::bad_alloc&) {
      Raise(Error(Code::Internal, "there is not enough memory"));
    }
  });
}

}  // namespace g4v::bindings
