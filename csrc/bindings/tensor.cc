#include "bindings/tensor.h"

#include <pybind11/numpy.h>

#include "base/error.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;

// DLPack's C structures, as its specification fixes them (version 0.8 and before; a capsule named
// "dltensor"). https://dmlc.github.io/dlpack/latest/c_api.html
struct DLDevice {
  int32_t device_type;  // 1 CPU, 2 CUDA, 3 CUDA host (pinned), 13 CUDA managed
  int32_t device_id;
};
struct DLDataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null: row-major
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor*);
};

[[noreturn]] void Refuse(const std::string& name, const std::string& reason) {
  throw Error(Code::InvalidArgument, name + " " + reason);
}

Tensor ViewNumPy(const py::array& array, const std::string& name) {
  Tensor view;
  view.data = const_cast<void*>(array.data());
  view.read_only = !array.writeable();
  const char kind = array.dtype().kind();
  view.code = kind == 'f' ? 2 : kind == 'u' ? 1 : kind == 'i' ? 0 : -1;
  view.bits = static_cast<int>(array.itemsize()) * 8;
  if (!array.dtype().attr("isnative").cast<bool>()) Refuse(name, "has the other byte order");
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    view.shape.push_back(array.shape(i));
    if (array.strides(i) % array.itemsize() != 0) {
      Refuse(name, "has strides that are no multiple of its elements; pass a contiguous copy");
    }
    view.strides.push_back(array.strides(i) / array.itemsize());
  }
  auto* const owner = new py::array(array);
  view.owner = std::shared_ptr<void>(owner, [](void* p) { delete static_cast<py::array*>(p); });
  return view;
}

Tensor FromDLPack(const DLTensor& tensor, const std::string& name) {
  Tensor view;
  const int device = tensor.device.device_type;
  if (device == 2 || device == 13) {
    view.device = TensorDevice::kCuda;
  } else if (device != 1 && device != 3) {
    Refuse(name, "is on a device of DLPack type " + std::to_string(device) +
                     "; the CPU and CUDA are supported");
  }
  view.device_index = tensor.device.device_id;
  view.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
  view.code = tensor.dtype.lanes == 1 ? tensor.dtype.code : -1;
  view.bits = tensor.dtype.bits;
  view.shape.assign(tensor.shape, tensor.shape + tensor.ndim);
  if (tensor.strides) {
    view.strides.assign(tensor.strides, tensor.strides + tensor.ndim);
  } else {
    view.strides.resize(view.shape.size());
    int64_t stride = 1;
    for (size_t i = view.shape.size(); i-- > 0; stride *= view.shape[i]) view.strides[i] = stride;
  }
  return view;
}

}  // namespace

std::string Tensor::dtype() const {
  const char* kinds[] = {"int", "uint", "float", "handle", "bfloat", "complex", "bool"};
  if (code < 0 || code >= 7) return "of another dtype";
  return code == 6 ? "bool" : kinds[code] + std::to_string(bits);
}

std::string Tensor::shape_text() const {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

Tensor ViewTensor(const py::object& array, const std::string& name, const py::object& stream) {
  if (py::isinstance<py::array>(array)) return ViewNumPy(array.cast<py::array>(), name);
  if (!py::hasattr(array, "__dlpack__") || !py::hasattr(array, "__dlpack_device__")) {
    Refuse(name, "must be an array (NumPy, PyTorch or any that has __dlpack__), not " +
                     py::str(py::type::of(array).attr("__name__")).cast<std::string>());
  }
  py::object capsule;
  try {
    const int device = array.attr("__dlpack_device__")().cast<py::tuple>()[0].cast<int>();
    const bool cuda = device == 2 || device == 13;
    capsule = cuda && !stream.is_none() ? array.attr("__dlpack__")(py::arg("stream") = stream)
                                        : array.attr("__dlpack__")();
  } catch (py::error_already_set& error) {
    Refuse(name, "cannot be read through DLPack: " + py::str(error.value()).cast<std::string>());
  }
  auto* const managed =
      static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (!managed) {
    PyErr_Clear();
    Refuse(name, "gives no DLPack capsule named \"dltensor\"");
  }
  Tensor view = FromDLPack(managed->dl_tensor, name);
  // From here on the tensor is ours to delete; its capsule must know.
  PyCapsule_SetName(capsule.ptr(), "used_dltensor");
  view.owner = std::shared_ptr<void>(managed, [](void* p) {
    auto* const tensor = static_cast<DLManagedTensor*>(p);
    if (tensor->deleter) tensor->deleter(tensor);
  });
  return view;
}

}  // namespace g4v::bindings
