// How the bindings let the interpreter's lock (GIL) go and take it back. The interpreter may end
// while threads of its own (daemon threads) and of the core are inside a call: from then on nobody
// but the thread that ends it gets the lock. CPython before 3.14 ends a thread that asks for it, by
// unwinding its stack, which C++ answers with std::terminate; later versions let it hang. Here such
// a thread always waits until the process is gone. pybind11's own guards are not used anywhere else.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

namespace g4v::bindings {

// Lets the GIL go while it lives. For py::call_guard too.
class GilRelease {
 public:
  GilRelease();
  ~GilRelease();
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

// Takes the GIL while it lives, on any thread of the core or of Python.
class GilAcquire {
 public:
  GilAcquire();
  ~GilAcquire();
  GilAcquire(const GilAcquire&) = delete;
  GilAcquire& operator=(const GilAcquire&) = delete;

 private:
  PyGILState_STATE state_;
};

// Calls `callable` with one argument on a thread of the core, with the GIL. Python code lets the GIL
// go and takes it back by itself. Throws error_already_set.
pybind11::object CallFromCore(const pybind11::object& callable, const pybind11::object& argument);

// Whether the interpreter ends or has ended.
bool InterpreterEnds() noexcept;

// For what a Python object owns: it is dropped without the GIL, since its destructor may wait for
// threads that need the GIL. While the interpreter ends it is kept for ever: those threads wait for
// ever too.
void DropWithoutGil(std::shared_ptr<const void> object) noexcept;

// What `make` returns, a shared_ptr, for a Python object to own. It is made without the GIL.
template <class Make>
auto MakeForPython(Make&& make) {
  auto object = [&] {
    const GilRelease release;
    return make();
  }();
  auto* const pointer = object.get();
  return decltype(object)(pointer, [object](auto*) mutable { DropWithoutGil(std::move(object)); });
}

}  // namespace g4v::bindings
