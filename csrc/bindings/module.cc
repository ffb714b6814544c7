// g4v._core: the Python module. The bound functions and classes are private to the package; its
// public face is the Python code around them.
#include "base/process.h"
#include "bindings/register.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The C++ core of g4v.";
  module.attr("__version__") = G4V_VERSION;
  pybind11::module_ testing =
      module.def_submodule("testing", "Parts of the core, for tests and benchmarks alone.");
  g4v::OpenLibraryWork();
  Py_AtExit(&g4v::CloseLibraryWork);
  g4v::bindings::RegisterErrors(module);
  g4v::bindings::RegisterLibrary(module);
  g4v::bindings::RegisterBundle(module);
  g4v::bindings::RegisterVideo(module, testing);
  g4v::bindings::RegisterTokenizer(module, testing);
  g4v::bindings::RegisterOptions(module);
  g4v::bindings::RegisterStream(module);
  g4v::bindings::RegisterGenerator(module);
  g4v::bindings::RegisterAssistant(module);
  g4v::bindings::RegisterAbstractor(testing);
  g4v::bindings::RegisterCpuModel(module);
  g4v::bindings::RegisterPrompt(testing);
  g4v::bindings::RegisterPromptWeights(testing);
  g4v::bindings::RegisterTesting(testing);
  g4v::bindings::RegisterOps(module, testing);
}
