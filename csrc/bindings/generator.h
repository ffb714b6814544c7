// A host's generator of videos that is written in Python.
#pragma once

#include <pybind11/pybind11.h>

#include "chat/host_generator.h"

namespace g4v::bindings {

// From a callable of a VideoJob that returns (frames, fps), frames uint8 [T, H, W, 3]; None gives an
// empty one.
HostGenerator PythonGenerator(const pybind11::object& callable);

}  // namespace g4v::bindings
