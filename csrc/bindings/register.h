// One function for each file of bindings; module.cc calls them in order.
#pragma once

#include <pybind11/pybind11.h>

namespace g4v::bindings {

void RegisterErrors(pybind11::module_& module);
void RegisterLibrary(pybind11::module_& module);
void RegisterBundle(pybind11::module_& module);
void RegisterVideo(pybind11::module_& module);
void RegisterTokenizer(pybind11::module_& module);
void RegisterOptions(pybind11::module_& module);
void RegisterStream(pybind11::module_& module);
void RegisterAssistant(pybind11::module_& module);
void RegisterAbstractor(pybind11::module_& module);
void RegisterParts(pybind11::module_& module);
void RegisterOps(pybind11::module_& module);

}  // namespace g4v::bindings
