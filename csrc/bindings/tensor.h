// Tensors of Python libraries, read where they lie.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cross_attention.h"

namespace g4v::bindings {

enum class TensorDevice { kCpu, kCuda };

// A view of an array that implements DLPack (NumPy, PyTorch, CuPy, JAX, ...) or, for NumPy's
// read-only arrays, the buffer protocol. Keeps what it views alive; destroy it with the GIL held.
struct Tensor {
  void* data = nullptr;
  int code = 0;  // DLDataTypeCode: 0 int, 1 uint, 2 float, 4 bfloat
  int bits = 0;
  TensorDevice device = TensorDevice::kCpu;
  int device_index = 0;
  bool read_only = false;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  // in elements
  std::shared_ptr<void> owner;

  std::string dtype() const;       // "float32"
  std::string shape_text() const;  // "[1, 16, 128, 64]"
};

// name: of the argument, for messages. stream: the CUDA stream that the view will be used on, which
// the library makes wait for work under way; ignored on the CPU. Throws Error(InvalidArgument).
Tensor ViewTensor(const pybind11::object& array, const std::string& name,
                  const pybind11::object& stream);

}  // namespace g4v::bindings
