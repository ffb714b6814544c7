// The names of Verify in Python.
#pragma once

#include <string>

#include "bundle/bundle.h"

namespace g4v::bindings {

Verify ParseVerify(const std::string& name);  // throws Error(InvalidArgument)

}  // namespace g4v::bindings
