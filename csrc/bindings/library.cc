#include "ort/library.h"

#include "base/cpu.h"
#include "bindings/gil.h"
#include "bindings/paths.h"
#include "bindings/register.h"
#include "ort/session.h"
#include "ort/targets.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;

std::shared_ptr<ort::Environment> Load(const std::filesystem::path& path,
                                       const Paths& directories) {
  const GilRelease release;
  return ort::Environment::Get({path.string(), Strings(directories)});
}

py::dict LibraryInfo(const std::filesystem::path& path, const Paths& directories) {
  const auto environment = Load(path, directories);
  py::dict info;
  info["version"] = environment->version();
  info["path"] = py::str(py::cast(std::filesystem::path(environment->path())));
  info["providers"] = environment->Providers();
  return info;
}

py::tuple ResolveDevice(const std::string& device, const std::filesystem::path& path,
                        const Paths& directories) {
  const auto environment = Load(path, directories);
  std::string why;
  std::string resolved;
  {
    const GilRelease release;
    resolved = ort::ResolveDevice(environment, device, &why);
  }
  return py::make_tuple(resolved, why);
}

py::tuple ResolveTargets(const std::string& device, const std::set<std::string>& wanted,
                         const Paths& provider_dirs, const std::filesystem::path& path,
                         const Paths& directories) {
  const auto environment = Load(path, directories);
  ort::Targets targets;
  {
    const GilRelease release;
    targets = ort::ResolveTargets(environment, {device, wanted, Strings(provider_dirs)});
  }
  std::vector<std::pair<std::string, std::string>> usable;
  for (const ort::Target& target : targets.usable) usable.emplace_back(target.name, target.device);
  return py::make_tuple(targets.device, usable, targets.refused);
}

void ProbeDevice(const std::string& device, const std::filesystem::path& path,
                 const Paths& directories) {
  const auto environment = Load(path, directories);
  const GilRelease release;
  ort::ProbeDevice(environment, device);
}

}  // namespace

void RegisterLibrary(py::module_& module) {
  const std::vector<std::string> none;
  module.def("library_info", &LibraryInfo, py::arg("path") = "", py::arg("directories") = none,
             "Loads ONNX Runtime (once for the process) and returns {version, path, providers}.\n\n"
             "`path` names the library file; otherwise $G4V_ONNXRUNTIME, the `directories` and the "
             "system are\n"
             "searched. Raises g4v.RuntimeUnavailable.");
  module.def("resolve_device", &ResolveDevice, py::arg("device"), py::arg("path") = "",
             py::arg("directories") = none,
             "Returns (\"cpu\" or \"cuda\", the reason) for a device name.");
  module.def(
      "resolve_targets", &ResolveTargets, py::arg("device"), py::arg("wanted"),
      py::arg("provider_dirs") = none, py::arg("path") = "", py::arg("directories") = none,
      "Returns (\"cpu\" or \"cuda\", [(target, device of its sessions)] best first, {target: "
      "why not}).");
  module.def("probe_device", &ProbeDevice, py::arg("device"), py::arg("path") = "",
             py::arg("directories") = none,
             "Makes a tiny session on \"cpu\" or \"cuda\"; raises g4v.RuntimeUnavailable with the "
             "reason.");
  module.def(
      "preload_cuda_libraries",
      [](const Paths& roots) { return ort::PreloadCudaLibraries(Strings(roots)); },
      py::arg("roots"), py::call_guard<GilRelease>(),
      "Loads the CUDA libraries of the nvidia-* wheels below site-packages folders; returns "
      "what is missing.");
  module.def("usable_cores", &UsableCores, "Physical cores that this process may use.");
}

}  // namespace g4v::bindings
