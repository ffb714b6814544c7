// g4v.ops: the kernels, on the tensors of any library that speaks DLPack.
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>

#include "base/cpu.h"
#include "base/error.h"
#include "base/process.h"
#include "bindings/gil.h"
#include "bindings/register.h"
#include "bindings/tensor.h"
#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/simd/peak.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cuda_library.h"
#include "ort/custom_ops.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;
using kernels::CrossAttentionParams;
using kernels::Isa;

[[noreturn]] void Refuse(const std::string& message) {
  throw Error(Code::InvalidArgument, "cross_attention: " + message);
}

// The threads of calls from Python. They are never joined at the end of the process: it may end, or
// fork, while one of them waits.
class Threads {
 public:
  static std::shared_ptr<kernels::ThreadPool> Get() {
    State& state = Shared();
    const std::lock_guard lock(state.mutex);
    if (!state.pool) {
      state.pool = std::make_shared<kernels::ThreadPool>(state.count > 0 ? state.count.load()
                                                                         : UsableCores());
    }
    return state.pool;
  }

  // Calls that are running keep the old threads.
  static void SetCount(int count) {
    if (count < 1) throw Error(Code::InvalidArgument, "threads must be at least 1");
    std::shared_ptr<kernels::ThreadPool> old = Get();
    State& state = Shared();
    const std::lock_guard lock(state.mutex);
    state.count = count;
    state.pool = nullptr;
  }

 private:
  struct State {
    std::mutex mutex;
    std::shared_ptr<kernels::ThreadPool> pool;
    std::atomic<int> count = 0;
    uint64_t fork_count = ForkCount();
  };
  // A forked child has none of its parent's threads and must not wait for them; a thread that it
  // lacks may have held the lock. So it has a state of its own.
  static State& Shared() {
    using Current = std::unique_ptr<std::atomic<State*>>;
    std::atomic<State*>& current =
        *MadeOnce([] { return Current(new std::atomic<State*>(new State)); });
    State* state = current.load();
    while (state->fork_count != ForkCount()) {
      auto* const fresh = new State;
      fresh->count = state->count.load();
      if (current.compare_exchange_strong(state, fresh)) return *fresh;
      delete fresh;
    }
    return *state;
  }
};

kernels::DType DTypeOf(const Tensor& tensor, const char* name) {
  if (tensor.code == 2 && tensor.bits == 32) return kernels::DType::kFloat32;
  if (tensor.code == 2 && tensor.bits == 16) return kernels::DType::kFloat16;
  if (tensor.code == 4 && tensor.bits == 16) return kernels::DType::kBFloat16;
  Refuse(std::string(name) + " must be float32, float16 or bfloat16, not " + tensor.dtype());
}

// The operands of one call, as checked views of the caller's arrays.
class Operands {
 public:
  Operands(const py::object& q, const py::object& k_own, const py::object& v_own,
           const py::object& k_mem, const py::object& v_mem, const py::object& mem_len,
           const py::object& out, float scale, const py::object& stream)
      : q_(ViewTensor(q, "cross_attention: q", stream)) {
    if (q_.shape.size() != 4) Refuse("q must be [B, H, Nq, D], not " + q_.shape_text());
    params.dtype = DTypeOf(q_, "q");
    params.batch = q_.shape[0];
    params.heads = q_.shape[1];
    params.queries = q_.shape[2];
    params.head_size = q_.shape[3];
    params.scale = scale;
    params.q = Rows("q", q_, params.queries);
    if (k_own.is_none() != v_own.is_none()) {
      Refuse("k_own and v_own must both be given or both be None");
    }
    if (!k_own.is_none()) {
      params.own_rows = params.queries;
      params.k_own = View("k_own", k_own, params.queries, stream);
      params.v_own = View("v_own", v_own, params.queries, stream);
    }
    kept_.push_back(ViewTensor(k_mem, "cross_attention: k_mem", stream));
    const std::vector<int64_t>& shape = kept_.back().shape;
    if (shape.size() != 4) {
      Refuse("k_mem must be [B, H, N, D], not " + kept_.back().shape_text());
    }
    params.memory_rows = shape[2];
    params.k_mem = Rows("k_mem", kept_.back(), params.memory_rows);
    params.v_mem = View("v_mem", v_mem, params.memory_rows, stream);
    if (!mem_len.is_none()) ReadLengths(mem_len, stream);
    const kernels::ConstRows result = View("out", out, params.queries, stream);
    if (kept_.back().read_only) Refuse("out is read-only");
    params.out = {const_cast<void*>(result.data), result.batch, result.head, result.row};
    if (const char* fault = kernels::CheckCrossAttention(params)) Refuse(fault);
  }

  TensorDevice device() const { return q_.device; }
  int device_index() const { return q_.device_index; }

  CrossAttentionParams params;

 private:
  kernels::ConstRows View(const char* name, const py::object& array, int64_t rows,
                          const py::object& stream) {
    kept_.push_back(ViewTensor(array, std::string("cross_attention: ") + name, stream));
    return Rows(name, kept_.back(), rows);
  }

  kernels::ConstRows Rows(const char* name, const Tensor& tensor, int64_t rows) const {
    Tensor wanted;
    wanted.shape = {params.batch, params.heads, rows, params.head_size};
    if (tensor.shape != wanted.shape) {
      Refuse(std::string(name) + " must be " + wanted.shape_text() + " to fit q, not " +
             tensor.shape_text());
    }
    if (tensor.code != q_.code || tensor.bits != q_.bits) {
      Refuse(std::string(name) + " must be " + q_.dtype() + " as q is, not " + tensor.dtype());
    }
    if (tensor.device != q_.device || tensor.device_index != q_.device_index) {
      Refuse(std::string(name) + " must be on the device of q");
    }
    const bool empty = params.batch * params.heads * rows == 0;
    if (tensor.strides[3] != 1 && params.head_size > 1 && !empty) {
      Refuse(std::string(name) + " must have its last axis contiguous (stride 1, not " +
             std::to_string(tensor.strides[3]) + "); pass a contiguous copy");
    }
    if (reinterpret_cast<uintptr_t>(tensor.data) % static_cast<size_t>(tensor.bits / 8) != 0) {
      Refuse(std::string(name) + " does not start at a multiple of its element size");
    }
    return {tensor.data, tensor.strides[0], tensor.strides[1], tensor.strides[2]};
  }

  void ReadLengths(const py::object& array, const py::object& stream) {
    kept_.push_back(ViewTensor(array, "cross_attention: mem_len", stream));
    const Tensor& lengths = kept_.back();
    if (lengths.shape != std::vector<int64_t>{params.batch}) {
      Refuse("mem_len must be [" + std::to_string(params.batch) + "], not " + lengths.shape_text());
    }
    if (lengths.code != 0 || lengths.bits != 32 || lengths.strides[0] != 1) {
      Refuse("mem_len must be contiguous int32, not " + lengths.dtype());
    }
    if (lengths.device != q_.device) Refuse("mem_len must be on the device of q");
    params.mem_len = static_cast<const int32_t*>(lengths.data);
    if (lengths.device == TensorDevice::kCuda) return;  // reading it would wait for the device
    for (int64_t b = 0; b < params.batch; ++b) {
      if (params.mem_len[b] < 0 || params.mem_len[b] > params.memory_rows) {
        Refuse("mem_len[" + std::to_string(b) + "] is " + std::to_string(params.mem_len[b]) +
               ", outside 0 to " + std::to_string(params.memory_rows));
      }
    }
  }

  Tensor q_;
  std::vector<Tensor> kept_;  // views that params points into
};

// Scratch memory of the calling thread. It grows to what the largest call needs and is kept, so
// that later calls allocate nothing.
void* Workspace(size_t bytes) {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  thread_local std::unique_ptr<void, Free> memory;
  thread_local size_t size = 0;
  if (bytes > size) {
    const size_t rounded = (bytes + 63) / 64 * 64;
    memory.reset();
    size = 0;
    memory.reset(std::aligned_alloc(64, rounded));
    if (!memory) throw std::bad_alloc();
    size = rounded;
  }
  return memory.get();
}

// allocate(bytes) returns a uint8 tensor of that size on q's device.
void RunOnGpu(const Operands& operands, const py::object& stream, const py::object& allocate) {
  std::string why;
  const kernels::CudaKernels* const cuda = kernels::LoadCudaKernels(&why);
  if (!cuda) throw Error(Code::Runtime, "cross_attention: q is on a GPU, but " + why);
  const auto check = [&](int32_t code) {
    if (code) throw Error(Code::Runtime, std::string("cross_attention: ") + cuda->error_text(code));
  };
  G4vCudaPlan plan{};
  const int device = operands.device_index();
  check(cuda->cross_attention_plan(&operands.params, device, &plan));
  Tensor workspace;
  if (plan.workspace_bytes > 0) {
    workspace =
        ViewTensor(allocate(plan.workspace_bytes), "cross_attention: the workspace", stream);
  }
  void* const handle =
      stream.is_none() ? nullptr : reinterpret_cast<void*>(stream.cast<uintptr_t>());
  check(cuda->cross_attention(&operands.params, device, workspace.data,
                              static_cast<size_t>(plan.workspace_bytes), handle));
}

void CrossAttention(const py::object& q, const py::object& k_own, const py::object& v_own,
                    const py::object& k_mem, const py::object& v_mem, const py::object& mem_len,
                    float scale, const py::object& out, const py::object& stream,
                    const py::object& allocate, const std::string& version) {
  const Operands operands(q, k_own, v_own, k_mem, v_mem, mem_len, out, scale, stream);
  if (operands.device() == TensorDevice::kCuda) return RunOnGpu(operands, stream, allocate);
  const Isa isa = version.empty() ? kernels::ChosenIsa()
                                  : kernels::ChooseIsa(version.c_str(), "cross_attention: version");
  const GilRelease release;
  const std::shared_ptr<kernels::ThreadPool> threads = Threads::Get();
  void* const workspace =
      Workspace(kernels::CpuWorkspaceSize(operands.params, threads->threads(), isa));
  kernels::CrossAttentionCpu(operands.params, workspace, *threads, isa);
}

py::dict DescribeCuda() {
  std::string why;
  kernels::CudaStatus status{};
  const kernels::CudaKernels* const cuda = kernels::LoadCudaKernels(&why, &status);
  py::dict about;
  about["usable"] = cuda != nullptr;
  about["built"] = status != kernels::CudaStatus::kNotBuilt;
  about["reason"] = why;
  py::list devices;
  if (cuda) {
    about["architectures"] = cuda->architectures;
    for (const G4vCudaDevice& device : cuda->devices) {
      py::dict entry;
      entry["name"] = device.name;
      entry["architecture"] = device.architecture;
      entry["compiled_for"] = device.compiled_for;
      entry["multiprocessors"] = device.multiprocessors;
      devices.append(entry);
    }
  }
  about["devices"] = devices;
  return about;
}

}  // namespace

void RegisterOps(py::module_& module, py::module_& testing) {
  module.def("cross_attention", &CrossAttention, py::arg("q"), py::arg("k_own"), py::arg("v_own"),
             py::arg("k_mem"), py::arg("v_mem"), py::arg("mem_len"), py::arg("scale"),
             py::arg("out"), py::arg("stream"), py::arg("allocate"), py::arg("version"));
  module.def("cuda_kernels", &DescribeCuda, "Whether the CUDA kernels can be used, and why not.");
  module.def(
      "kernel_versions",
      [](bool all) {
        std::vector<std::string> names;
        for (const Isa isa : kernels::kIsas) {
          if (kernels::Available(isa) && (all || isa <= kernels::ChosenIsa())) {
            names.emplace_back(kernels::Name(isa));
          }
        }
        return names;
      },
      py::arg("all") = false,
      "Instruction sets of the CPU kernels, best first: those that this processor has up to the "
      "one that is in use, or `all` that it has. Raises ArgumentError where $G4V_CPU cannot be.");
  testing.def(
      "multiply_add_peak",
      [](int threads, bool bfloat16) {
        const GilRelease release;
        return kernels::MultiplyAddPeak(
            threads, kernels::ChosenIsa(),
            bfloat16 ? kernels::DType::kBFloat16 : kernels::DType::kFloat32);
      },
      py::arg("threads"), py::arg("bfloat16") = false,
      "FLOP/s that this many threads reach with multiply-adds in registers.");
  module.def("set_kernel_threads", &Threads::SetCount, py::arg("count"));
}

}  // namespace g4v::bindings

// The entry point that ONNX Runtime calls in a library of custom operators. This module is such a
// library, so that g4v's graphs also run in sessions that are made in Python.
extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(
    OrtSessionOptions* options, const g4v::ort::abi::ApiBase* base) {
  namespace abi = g4v::ort::abi;
  const void* const table = base->GetApi(abi::kApiVersion);
  if (!table) {  // every table begins with CreateStatus
    const auto create = *static_cast<OrtStatus* (*const*)(int, const char*)>(base->GetApi(1));
    return create(abi::kInvalidArgument,
                  "g4v's operators need ONNX Runtime 1.24.1 or newer; "
                  "`pip install --upgrade onnxruntime` brings it");
  }
  const abi::Api api(table);
  char** providers = nullptr;
  int count = 0;
  if (OrtStatus* status = api.GetAvailableProviders(&providers, &count)) return status;
  const bool cuda = std::any_of(providers, providers + count, [](const char* name) {
    return std::string(name) == "CUDAExecutionProvider";
  });
  if (OrtStatus* status = api.ReleaseAvailableProviders(providers, count)) return status;
  return g4v::ort::AddCustomOps(api, options, cuda);
}
