#include "bundle/bundle.h"

#include "bindings/gil.h"
#include "bindings/paths.h"
#include "bindings/register.h"

namespace g4v::bindings {

namespace py = pybind11;

namespace {

bool CheckBundle(const std::filesystem::path& directory, const std::string& verify) {
  return Bundle::Open(directory, ParseVerify(verify)).verified();
}

}  // namespace

void RegisterBundle(py::module_& module) {
  module.attr("BUNDLE_FORMAT_VERSION") = kBundleFormatVersion;
  module.def("check_bundle", &CheckBundle, py::arg("directory"),
             py::arg("verify") = NameOf(Verify::Auto), py::call_guard<GilRelease>(),
             "Checks the manifest and the files of a bundle directory; raises g4v.BundleError.\n\n"
             "Returns whether the SHA-256 of every file was compared.");
}

}  // namespace g4v::bindings
