// The abstractor of a bundle by itself, as tests and benchmarks compare and time it.
#include "vision/abstractor.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstring>

#include "base/cpu.h"
#include "base/error.h"
#include "bindings/gil.h"
#include "bindings/register.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;

using Floats = py::array_t<float, py::array::c_style>;

class BundleAbstractor {
 public:
  BundleAbstractor(const std::string& directory, int frames, int threads,
                   const std::string& onnxruntime, const std::vector<std::string>& library_dirs,
                   const std::string& device, std::optional<int> cuda_graphs)
      : bundle_(Bundle::Open(directory, Verify::Size)),
        environment_(ort::Environment::Get({onnxruntime, library_dirs})),
        abstractor_(environment_, bundle_, On(*this, device, threads, cuda_graphs)),
        frames_(frames) {}

  // features [T, N, d] and a number for each frame; the last call's frames are not computed anew.
  std::pair<Floats, int> Run(const Floats& features, const std::vector<uint64_t>& numbers) {
    if (features.ndim() != 3 || static_cast<size_t>(features.shape(0)) != numbers.size()) {
      throw Error(Code::InvalidArgument,
                  "features must be [T, N, d], with a number for each frame");
    }
    if (!abstractor_.keeps_frames()) return RunWhole(features);
    std::vector<FrameKey> keys;
    for (const uint64_t number : numbers) {
      std::memcpy(keys.emplace_back().data(), &number, sizeof number);
    }
    const py::ssize_t size = features.shape(1) * features.shape(2);
    const FrameMemory::Plan plan =
        memory_.Arrange(keys, abstractor_.values_per_frame(features.shape(1)), frames_);
    const auto missing = static_cast<int64_t>(plan.missing.size());
    fresh_.shape = {missing, features.shape(1), features.shape(2)};
    fresh_.values.clear();
    for (const auto& each : plan.missing) {
      const float* const first = features.data() + each.frame * size;
      fresh_.values.insert(fresh_.values.end(), first, first + size);
    }
    VideoTokens tokens;
    {
      const GilRelease release;
      if (abstractor_.per_frame()) {
        if (missing > 0) abstractor_.Fill(fresh_, plan.missing, memory_, nullptr);
        memory_.Complete(plan, keys);
        tokens = abstractor_.Gather(plan, memory_);
      } else {
        tokens = abstractor_.Run(fresh_, keys, plan, memory_, nullptr);
      }
    }
    return {Array(*tokens, features.shape(0)), static_cast<int>(missing)};
  }

  bool keeps_frames() const { return abstractor_.keeps_frames(); }
  int cuda_graphs() const { return abstractor_.cuda_graphs(); }

 private:
  static Placement On(const BundleAbstractor& self, const std::string& device, int threads,
                      std::optional<int> cuda_graphs) {
    Placement placement;
    placement.options.threads = threads > 0 ? threads : UsableCores();
    placement.targets = ort::ResolveTargets(self.environment_, {.device = device});
    placement.cuda_graphs = cuda_graphs;
    return placement;
  }

  std::pair<Floats, int> RunWhole(const Floats& features) {
    fresh_.shape = {features.shape(0), features.shape(1), features.shape(2)};
    fresh_.values.assign(features.data(), features.data() + features.size());
    VideoTokens tokens;
    {
      const GilRelease release;
      tokens = abstractor_.Run(fresh_, frames_, nullptr);
    }
    return {Array(*tokens, features.shape(0)), static_cast<int>(features.shape(0))};
  }

  Floats Array(const std::vector<float>& tokens, int64_t frames) const {
    const auto rows = static_cast<py::ssize_t>(abstractor_.tokens(frames));
    return Floats({rows, static_cast<py::ssize_t>(tokens.size()) / rows}, tokens.data());
  }

  Bundle bundle_;
  std::shared_ptr<ort::Environment> environment_;
  Abstractor abstractor_;
  int frames_;
  FrameMemory memory_;
  FrameEncoder::Features fresh_;  // of the last call, whose room the next one uses again
};

}  // namespace

void RegisterAbstractor(py::module_& testing) {
  py::class_<BundleAbstractor>(testing, "BundleAbstractor", "The abstractor of a bundle.")
      .def(py::init<const std::string&, int, int, const std::string&,
                    const std::vector<std::string>&, const std::string&, std::optional<int>>(),
           py::arg("directory"), py::arg("frames"), py::arg("threads") = 0,
           py::arg("onnxruntime") = "", py::arg("library_dirs") = std::vector<std::string>(),
           py::arg("device") = "cpu", py::arg("cuda_graphs") = py::none())
      .def_property_readonly("keeps_frames", &BundleAbstractor::keeps_frames)
      .def_property_readonly("cuda_graphs", &BundleAbstractor::cuda_graphs, "Captured so far.")
      .def("run", &BundleAbstractor::Run, py::arg("features"), py::arg("keys"),
           "features [T, N, d] -> video tokens, and how many frames were not those of the last "
           "call.");
}

}  // namespace g4v::bindings
