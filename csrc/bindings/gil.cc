#include "bindings/gil.h"

#include <cxxabi.h>
#include <unistd.h>

#include <utility>

#include "base/process.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;

[[noreturn]] void WaitForTheEnd() {
  for (;;) pause();
}

// Runs `take`, which asks for the GIL. What ends the thread there is caught before it unwinds a
// frame that must not be unwound, such as a destructor.
template <class Take>
auto OrWaitForTheEnd(Take&& take) {
#ifdef __GLIBCXX__
  try {
    return take();
  } catch (const abi::__forced_unwind&) {
    WaitForTheEnd();
  }
#else
  return take();
#endif
}

}  // namespace

bool InterpreterEnds() noexcept {
#if PY_VERSION_HEX >= 0x030D0000
  return !Py_IsInitialized() || Py_IsFinalizing();
#else
  return !Py_IsInitialized() || _Py_IsFinalizing();
#endif
}

// The thread that ends the interpreter gets the GIL back even then: so it is always asked for.
GilRelease::GilRelease() : state_(PyEval_SaveThread()) {}

GilRelease::~GilRelease() {
  OrWaitForTheEnd([this] { PyEval_RestoreThread(state_); });
}

GilAcquire::GilAcquire() {
  // Without an interpreter the call below would crash. It is never the thread that ends it.
  if (InterpreterEnds()) WaitForTheEnd();
  state_ = OrWaitForTheEnd([] { return PyGILState_Ensure(); });
}

GilAcquire::~GilAcquire() {
  // Python code on this thread may have lost the GIL for good: see CallFromCore.
  if (!PyGILState_Check()) WaitForTheEnd();
  PyGILState_Release(state_);
}

py::object CallFromCore(const py::object& callable, const py::object& argument) {
  // No object with a destructor is between the interpreter and this frame.
  PyObject* const result = OrWaitForTheEnd(
      [&] { return PyObject_CallFunctionObjArgs(callable.ptr(), argument.ptr(), nullptr); });
  if (!result) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}

void DropWithoutGil(std::shared_ptr<const void> object) noexcept {
  if (InterpreterEnds()) return ThreadOwner::Keep(std::move(object));
  const py::error_scope error;
  const GilRelease release;
  object.reset();
}

}  // namespace g4v::bindings
