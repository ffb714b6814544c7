// A host's frame checker that is written in Python.
#pragma once

#include <pybind11/pybind11.h>

#include "chat/options.h"

namespace g4v::bindings {

// From a callable of uint8 frames [T, H, W, 3] that returns T numbers; None gives an empty one.
HostFrameChecker PythonFrameChecker(const pybind11::object& callable);

}  // namespace g4v::bindings
