// Frames of the core as NumPy arrays.
#pragma once

#include <pybind11/numpy.h>

#include <optional>

#include "video/frames.h"

namespace g4v::bindings {

// uint8 [T, H, W, 3] without a copy; the array keeps the frames alive and is read-only.
pybind11::array_t<uint8_t> FramesArray(const Frames& frames);

// The frames of a C-contiguous uint8 array [T, H, W, 3] that stays alive; nothing of None. Throws
// Error(InvalidArgument), which calls the argument `name`, for anything else.
std::optional<FramesView> FramesArgument(const pybind11::object& frames, const char* name);

}  // namespace g4v::bindings
