#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "base/error.h"
#include "bindings/gil.h"
#include "bindings/register.h"
#include "video/preprocess.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;

// C-contiguous uint8; another dtype is refused rather than converted.
using Pixels = py::array_t<uint8_t, py::array::c_style>;

void CheckPixels(const py::array& array, py::ssize_t rank, const char* shape) {
  const bool right = py::isinstance<py::array_t<uint8_t>>(array) && array.ndim() == rank &&
                     array.shape(rank - 1) == 3 && array.size() > 0;
  if (!right) throw Error(Code::InvalidArgument, std::string("expected a uint8 array ") + shape);
}

template <class T>
py::array_t<T> ToArray(std::vector<T> values, std::vector<py::ssize_t> shape) {
  auto* const owned = new std::vector<T>(std::move(values));
  const py::capsule owner(owned, [](void* data) { delete static_cast<std::vector<T>*>(data); });
  return py::array_t<T>(std::move(shape), owned->data(), owner);
}

Resampling ResamplingOf(const std::string& name) {
  if (name == "bicubic") return Resampling::kBicubic;
  if (name == "lanczos") return Resampling::kLanczos;
  throw Error(Code::InvalidArgument, "resampling must be \"bicubic\" or \"lanczos\"");
}

py::array_t<uint8_t> ResizeImage(const py::array& image, int height, int width,
                                 const std::string& resampling) {
  CheckPixels(image, 3, "[H, W, 3]");
  const Pixels pixels = Pixels::ensure(image);
  const Resampling kind = ResamplingOf(resampling);
  std::vector<uint8_t> resized;
  {
    const GilRelease release;
    resized = Resize(pixels.data(), static_cast<int>(pixels.shape(0)),
                     static_cast<int>(pixels.shape(1)), height, width, kind);
  }
  return ToArray(std::move(resized), {height, width, 3});
}

py::array_t<uint8_t> ResizeFrames(const py::array& frames, int height, int width) {
  CheckPixels(frames, 4, "[T, H, W, 3]");
  const Pixels pixels = Pixels::ensure(frames);
  const py::ssize_t count = pixels.shape(0);
  const auto rows = static_cast<int>(pixels.shape(1));
  const auto columns = static_cast<int>(pixels.shape(2));
  std::vector<uint8_t> resized;
  {
    const GilRelease release;
    for (py::ssize_t i = 0; i < count; ++i) {
      const uint8_t* frame = pixels.data() + i * rows * columns * 3;
      const std::vector<uint8_t> one =
          Resize(frame, rows, columns, height, width, Resampling::kLanczos);
      resized.insert(resized.end(), one.begin(), one.end());
    }
  }
  return ToArray(std::move(resized), {count, height, width, 3});
}

py::array_t<float> PreprocessFrames(const py::array& frames, int size,
                                    const std::array<float, 3>& mean,
                                    const std::array<float, 3>& std, const std::string& resampling,
                                    int longest_edge, int shortest_edge) {
  CheckPixels(frames, 4, "[T, H, W, 3]");
  const Pixels pixels = Pixels::ensure(frames);
  const py::ssize_t count = pixels.shape(0);
  const FrameFormat format{size, mean, std, ResamplingOf(resampling), longest_edge, shortest_edge};
  std::vector<float> values;
  {
    const GilRelease release;
    values = Preprocess(pixels.data(), count, static_cast<int>(pixels.shape(1)),
                        static_cast<int>(pixels.shape(2)), format);
  }
  return ToArray(std::move(values), {count, 3, size, size});
}

}  // namespace

void RegisterVideo(py::module_& module, py::module_& testing) {
  testing.def(
      "resize", &ResizeImage, py::arg("image"), py::arg("height"), py::arg("width"),
      py::arg("resampling") = "bicubic",
      "uint8 [H, W, 3] -> uint8 [height, width, 3], bit for bit as Pillow's BICUBIC or LANCZOS.");
  module.def("resize_frames", &ResizeFrames, py::arg("frames"), py::arg("height"), py::arg("width"),
             "uint8 [T, H, W, 3] -> uint8 [T, height, width, 3], bit for bit as Pillow's LANCZOS.");
  module.def("preprocess", &PreprocessFrames, py::arg("frames"), py::arg("size"), py::arg("mean"),
             py::arg("std"), py::arg("resampling") = "bicubic", py::arg("longest_edge") = 0,
             py::arg("shortest_edge") = 0,
             "uint8 [T, H, W, 3] -> float32 [T, 3, size, size], resized and normalised.");
  testing.def("spread_frames", &SpreadFrames, py::arg("count"), py::arg("samples"),
              "Indices of `samples` frames from the first of `count` to the last.");
  testing.def("floor_frames", &FloorFrames, py::arg("count"), py::arg("samples"),
              "Indices floor(i * count / samples).");
  testing.def(
      "frames_by_second",
      [](int64_t count, double rate, int most, double fps, double skip_seconds, bool floor) {
        return FramesBySecond(count, rate, most, {fps, skip_seconds, floor});
      },
      py::arg("count"), py::arg("rate"), py::arg("most"), py::arg("fps"), py::arg("skip_seconds"),
      py::arg("floor"), "Indices of the frames, out of `count` at `rate` a second, that are seen.");
  testing.def("sample_frames", &SampleFrames, py::arg("count"), py::arg("samples"),
              "Indices of the frames, out of `count`, that the encoder sees.");
}

}  // namespace g4v::bindings
