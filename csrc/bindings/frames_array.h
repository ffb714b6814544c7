// Frames of the core as NumPy arrays.
#pragma once

#include <pybind11/numpy.h>

#include "video/frames.h"

namespace g4v::bindings {

// uint8 [T, H, W, 3] without a copy; the array keeps the frames alive and is read-only.
pybind11::array_t<uint8_t> FramesArray(const Frames& frames);

}  // namespace g4v::bindings
