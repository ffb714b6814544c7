// The CPU decoder on a file of packed weights, which the exporter compares.
#include "decoder/cpu/cpu_model.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <utility>

#include "base/error.h"
#include "bindings/gil.h"
#include "bindings/register.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;

using Floats = py::array_t<float, py::array::c_style>;

std::unique_ptr<CpuModel> MakeModel(const std::string& path, int vocab_size, int hidden_size,
                                    int layers, int heads, int kv_heads, int head_dim,
                                    int context_length, int threads, const std::string& kv_dtype) {
  CpuDecoderOptions options;
  options.threads = threads;
  options.kv_dtype = kv_dtype;
  DecoderSpec spec;
  spec.vocab_size = vocab_size;
  spec.hidden_size = hidden_size;
  spec.layers = layers;
  spec.heads = heads;
  spec.kv_heads = kv_heads;
  spec.head_dim = head_dim;
  spec.context_length = context_length;
  return std::make_unique<CpuModel>(spec, TensorFile(MappedFile(path), path), options);
}

// The logits [vocab_size] after the rows of each conversation.
std::vector<Floats> Step(CpuModel& model,
                         const std::vector<std::pair<CpuKvCache*, Floats>>& conversations) {
  const DecoderSpec& spec = model.spec();
  std::vector<Floats> logits;
  std::vector<Forward::Sequence> sequences;
  for (const auto& [cache, rows] : conversations) {
    if (rows.ndim() != 2 || rows.shape(0) == 0 || rows.shape(1) != spec.hidden_size ||
        cache->length() + rows.shape(0) > spec.context_length) {
      throw Error(Code::InvalidArgument, "rows do not fit the decoder or its context");
    }
    logits.emplace_back(spec.vocab_size);
    sequences.push_back({cache,
                         {rows.data(), static_cast<size_t>(rows.size())},
                         {logits.back().mutable_data(), static_cast<size_t>(spec.vocab_size)},
                         nullptr});
  }
  const GilRelease release;
  model.Step(sequences);
  return logits;
}

}  // namespace

void RegisterCpuModel(py::module_& module) {
  py::class_<CpuKvCache>(module, "CpuKvCache")
      .def_property_readonly("length", &CpuKvCache::length)
      .def("truncate", &CpuKvCache::Truncate, py::arg("length"))
      .def("copy", &CpuKvCache::Copy)
      .def_property_readonly("bytes", [](CpuKvCache& self) { return self.pages().bytes(); });
  py::class_<CpuModel>(module, "CpuModel")
      .def(py::init(&MakeModel), py::arg("path"), py::kw_only(), py::arg("vocab_size"),
           py::arg("hidden_size"), py::arg("layers"), py::arg("heads"), py::arg("kv_heads"),
           py::arg("head_dim"), py::arg("context_length"), py::arg("threads") = 1,
           py::arg("kv_dtype") = "auto")
      .def("new_cache", &CpuModel::NewCache, py::keep_alive<0, 1>())
      .def("step", &Step, py::arg("conversations"));
}

}  // namespace g4v::bindings
