// One function for each file of bindings; module.cc calls them in order. What only tests and
// benchmarks use is registered in `testing`, the module g4v._core.testing.
#pragma once

#include <pybind11/pybind11.h>

namespace g4v::bindings {

void RegisterErrors(pybind11::module_& module);
void RegisterLibrary(pybind11::module_& module);
void RegisterBundle(pybind11::module_& module);
void RegisterVideo(pybind11::module_& module, pybind11::module_& testing);
void RegisterTokenizer(pybind11::module_& module, pybind11::module_& testing);
void RegisterOptions(pybind11::module_& module);
void RegisterStream(pybind11::module_& module);
void RegisterGenerator(pybind11::module_& module);
void RegisterAssistant(pybind11::module_& module);
void RegisterAbstractor(pybind11::module_& testing);
void RegisterCpuModel(pybind11::module_& module);
void RegisterPrompt(pybind11::module_& testing);
void RegisterPromptWeights(pybind11::module_& testing);
void RegisterTesting(pybind11::module_& testing);
void RegisterOps(pybind11::module_& module, pybind11::module_& testing);

}  // namespace g4v::bindings
