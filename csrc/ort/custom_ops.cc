#include "ort/custom_ops.h"

#include <cmath>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/cpu.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cuda_library.h"

namespace g4v::ort {
namespace {

using kernels::CrossAttentionParams;

// One copy of ONNX Runtime in this process. Python's module carries a copy of its own, beside the
// one that the core loads, and what one made must not reach the other. Lives as long as the
// process, as do the sessions that use it.
struct Library {
  abi::Api api;
  bool cuda = false;  // its domain has the operators of the CUDA provider
  OrtMemoryInfo* host_memory = nullptr;
  OrtCustomOpDomain* domain = nullptr;
};

class StatusError {
 public:
  explicit StatusError(OrtStatus* status) : status_(status) {}
  explicit StatusError(std::string message) : message_(std::move(message)) {}
  OrtStatus* Take(const abi::Api& api) {
    if (status_) return std::exchange(status_, nullptr);
    return api.CreateStatus(abi::kInvalidArgument, message_.c_str());
  }

 private:
  OrtStatus* status_ = nullptr;
  std::string message_;
};

void Check(OrtStatus* status) {
  if (status) throw StatusError(status);
}

// Runs `action`; what it throws becomes a status of this copy of the library.
template <class Action>
OrtStatus* Guard(const abi::Api& api, Action&& action) noexcept {
  try {
    action();
    return nullptr;
  } catch (StatusError& error) {
    return error.Take(api);
  } catch (const std::exception& error) {
    return api.CreateStatus(abi::kInvalidArgument, error.what());
  }
}

// The threads of the session, which the kernel must share: two sets of threads on one processor
// would wait for each other.
class SessionThreads final : public kernels::Parallel {
 public:
  SessionThreads(const abi::Api& api, OrtKernelContext* context) : api_(api), context_(context) {}

  // The library does not tell how many threads a session has. This many pieces are made; the
  // session runs as many of them at once as it has threads.
  int threads() const override {
    static const int cores = UsableCores();
    return cores;
  }

  void Run(int64_t count, Task task, void* context) override {
    struct Call {
      Task task;
      void* context;
    } call{task, context};
    const auto run = [](void* data, size_t index) {
      const Call& of = *static_cast<Call*>(data);
      of.task(of.context, static_cast<int64_t>(index));
    };
    Check(api_.KernelContext_ParallelFor(context_, run, static_cast<size_t>(count), 0, &call));
  }

 private:
  const abi::Api& api_;
  OrtKernelContext* context_;
};

struct Shape {
  int64_t batch, rows, columns;
};

Shape ReadShape(const abi::Api& api, const OrtValue* value, const char* name) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  Check(api.GetTensorTypeAndShape(value, &info));
  size_t rank = 0;
  int64_t sizes[3] = {};
  OrtStatus* status = api.GetDimensionsCount(info, &rank);
  if (!status && rank == 3) status = api.GetDimensions(info, sizes, 3);
  api.ReleaseTensorTypeAndShapeInfo(info);
  Check(status);
  if (rank != 3) {
    throw StatusError(std::string("g4v.CrossAttention: ") + name + " must have 3 dimensions, not " +
                      std::to_string(rank));
  }
  return {sizes[0], sizes[1], sizes[2]};
}

const OrtValue* Input(const abi::Api& api, OrtKernelContext* context, size_t index) {
  const OrtValue* value = nullptr;
  Check(api.KernelContext_GetInput(context, index, &value));
  return value;
}

float* Data(const abi::Api& api, const OrtValue* value) {
  void* data = nullptr;
  // The C ABI has no way to read a tensor as const.
  Check(api.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
  return static_cast<float*>(data);
}

class CrossAttentionKernel {
 public:
  CrossAttentionKernel(const Library& library, const OrtKernelInfo* info, bool on_gpu)
      : library_(library),
        on_gpu_(on_gpu),
        heads_(Attribute(info, "num_heads")),
        key_column_(Attribute(info, "key_column")),
        value_column_(Attribute(info, "value_column")) {
    if (heads_ <= 0) throw StatusError("g4v.CrossAttention: num_heads must be above 0");
  }

  const abi::Api& api() const { return library_.api; }

  void Compute(OrtKernelContext* context) const {
    const OrtValue* queries = Input(api(), context, 0);
    const OrtValue* memory = Input(api(), context, 1);
    const Shape q = ReadShape(api(), queries, "queries");
    const Shape m = ReadShape(api(), memory, "memory");
    const int64_t width = q.columns / 3;
    CheckShapes(q, m, width);

    const int64_t shape[] = {q.batch, q.rows, width};
    OrtValue* out = nullptr;
    Check(api().KernelContext_GetOutput(context, 0, shape, 3, &out));

    CrossAttentionParams p;
    p.batch = q.batch;
    p.heads = heads_;
    p.queries = p.own_rows = q.rows;
    p.memory_rows = m.rows;
    p.head_size = width / heads_;
    p.scale = 1.0f / std::sqrt(static_cast<float>(p.head_size));
    const auto rows = [&](float* data, int64_t count, int64_t columns) {
      return kernels::StridedRows<float*>{data, count * columns, p.head_size, columns};
    };
    const auto in = [&](const kernels::StridedRows<float*>& view) {
      return kernels::ConstRows{view.data, view.batch, view.head, view.row};
    };
    float* own = Data(api(), queries);
    float* kept = Data(api(), memory);
    const auto result = rows(Data(api(), out), q.rows, width);
    p.q = in(rows(own, q.rows, q.columns));
    p.k_own = in(rows(own + width, q.rows, q.columns));
    p.v_own = in(rows(own + 2 * width, q.rows, q.columns));
    p.k_mem = in(rows(kept + key_column_, m.rows, m.columns));
    p.v_mem = in(rows(kept + value_column_, m.rows, m.columns));
    p.out = {result.data, result.batch, result.head, result.row};
    if (const char* fault = kernels::CheckCrossAttention(p)) {
      throw StatusError(std::string("g4v.CrossAttention: ") + fault);
    }

    if (on_gpu_) {
      RunOnGpu(p, context, queries);
    } else {
      RunOnCpu(p, context);
    }
  }

 private:
  void RunOnCpu(const CrossAttentionParams& p, OrtKernelContext* context) const {
    SessionThreads threads(api(), context);
    const kernels::CpuVersion version = kernels::BestCpuVersion();
    void* workspace = nullptr;
    if (const size_t bytes = kernels::CpuWorkspaceSize(p, threads.threads(), version)) {
      Check(api().KernelContext_GetScratchBuffer(context, library_.host_memory, bytes, &workspace));
    }
    kernels::CrossAttentionCpu(p, workspace, threads, version);
  }

  // On the session's stream, in the memory of the device that holds `tensor`.
  void RunOnGpu(const CrossAttentionParams& p, OrtKernelContext* context,
                const OrtValue* tensor) const {
    const kernels::CudaKernels& cuda = *kernels::LoadCudaKernels();  // made sure at registration
    const OrtMemoryInfo* memory = nullptr;
    int device = 0;
    void* stream = nullptr;
    Check(api().GetTensorMemoryInfo(tensor, &memory));
    Check(api().MemoryInfoGetId(memory, &device));
    Check(api().KernelContext_GetGPUComputeStream(context, &stream));
    G4vCudaPlan plan{};
    CheckCuda(cuda, cuda.cross_attention_plan(&p, device, &plan));
    const auto bytes = static_cast<size_t>(plan.workspace_bytes);
    void* workspace = nullptr;
    if (bytes > 0) {
      Check(api().KernelContext_GetScratchBuffer(context, memory, bytes, &workspace));
    }
    CheckCuda(cuda, cuda.cross_attention(&p, device, workspace, bytes, stream));
  }

  static void CheckCuda(const kernels::CudaKernels& cuda, int32_t code) {
    if (code) throw StatusError(std::string("g4v.CrossAttention: ") + cuda.error_text(code));
  }

  int64_t Attribute(const OrtKernelInfo* info, const char* name) const {
    int64_t value = 0;
    Check(api().KernelInfoGetAttribute_int64(info, name, &value));
    return value;
  }

  void CheckShapes(const Shape& q, const Shape& m, int64_t width) const {
    if (q.columns % 3 != 0 || width % heads_ != 0) {
      throw StatusError("g4v.CrossAttention: the columns of queries, " + std::to_string(q.columns) +
                        ", must be 3 times a multiple of num_heads, " + std::to_string(heads_));
    }
    if (m.batch != q.batch) {
      throw StatusError("g4v.CrossAttention: memory is of " + std::to_string(m.batch) +
                        " clips, queries of " + std::to_string(q.batch));
    }
    for (const int64_t column : {key_column_, value_column_}) {
      if (column < 0 || column + width > m.columns) {
        throw StatusError("g4v.CrossAttention: columns " + std::to_string(column) + " to " +
                          std::to_string(column + width) + " are outside memory's " +
                          std::to_string(m.columns));
      }
    }
  }

  const Library& library_;
  bool on_gpu_;
  int64_t heads_;
  int64_t key_column_;
  int64_t value_column_;
};

const Library* FindLibrary(const abi::Api& api, std::optional<bool> cuda);

// `table` is that of the copy of the library that makes the kernel.
template <bool kOnGpu>
OrtStatus* CreateCrossAttention(const abi::CustomOp*, const void* table, const OrtKernelInfo* info,
                                void** kernel) {
  const abi::Api api(table);
  return Guard(api,
               [&] { *kernel = new CrossAttentionKernel(*FindLibrary(api, {}), info, kOnGpu); });
}

abi::CustomOp DescribeCrossAttention(bool on_gpu) {
  using abi::CustomOp;
  CustomOp op{};
  op.version = abi::kApiVersion;
  op.GetName = [](const CustomOp*) { return "CrossAttention"; };
  op.GetExecutionProviderType = [](const CustomOp*) -> const char* { return nullptr; };
  if (on_gpu) op.GetExecutionProviderType = [](const CustomOp*) { return "CUDAExecutionProvider"; };
  op.GetInputTypeCount = [](const CustomOp*) -> size_t { return 2; };
  op.GetInputType = [](const CustomOp*, size_t) { return abi::kElementFloat; };
  op.GetOutputTypeCount = [](const CustomOp*) -> size_t { return 1; };
  op.GetOutputType = [](const CustomOp*, size_t) { return abi::kElementFloat; };
  op.GetInputCharacteristic = [](const CustomOp*, size_t) { return abi::kInputRequired; };
  op.GetOutputCharacteristic = [](const CustomOp*, size_t) { return abi::kInputRequired; };
  op.GetInputMemoryType = [](const CustomOp*, size_t) { return abi::kMemoryDefault; };
  op.GetVariadicInputMinArity = [](const CustomOp*) { return 1; };
  op.GetVariadicInputHomogeneity = [](const CustomOp*) { return 1; };
  op.GetVariadicOutputMinArity = [](const CustomOp*) { return 1; };
  op.GetVariadicOutputHomogeneity = [](const CustomOp*) { return 1; };
  op.GetStartVersion = [](const CustomOp*) { return 1; };
  op.GetEndVersion = [](const CustomOp*) { return 2147483647; };
  op.CreateKernelV2 = on_gpu ? &CreateCrossAttention<true> : &CreateCrossAttention<false>;
  op.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
    const auto& attention = *static_cast<CrossAttentionKernel*>(kernel);
    return Guard(attention.api(), [&] { attention.Compute(context); });
  };
  op.KernelDestroy = [](void* kernel) { delete static_cast<CrossAttentionKernel*>(kernel); };
  return op;
}

OrtStatus* Fill(Library* library) {
  static const abi::CustomOp on_cpu = DescribeCrossAttention(false);
  static const abi::CustomOp on_gpu = DescribeCrossAttention(true);
  const abi::Api& api = library->api;
  return Guard(api, [&] {
    Check(
        api.CreateCpuMemoryInfo(abi::kDeviceAllocator, abi::kMemoryDefault, &library->host_memory));
    Check(api.CreateCustomOpDomain("g4v", &library->domain));
    const auto add = [&](const abi::CustomOp& op) {
      Check(api.CustomOpDomain_Add(library->domain, reinterpret_cast<const OrtCustomOp*>(&op)));
    };
    add(on_cpu);
    if (library->cuda && kernels::LoadCudaKernels()) add(on_gpu);
  });
}

// Never destroyed: a session may outlive the statics of this file.
struct Libraries {
  std::mutex mutex;
  std::vector<std::unique_ptr<Library>> all;  // guarded by mutex
};

Libraries& GetLibraries() {
  static auto* const libraries = new Libraries;
  return *libraries;
}

// Copies are told apart by where their functions lie; without `cuda` either domain will do. Null
// where no session asked for operators yet.
const Library* FindLibrary(const abi::Api& api, std::optional<bool> cuda) {
  Libraries& libraries = GetLibraries();
  const std::lock_guard lock(libraries.mutex);
  for (const std::unique_ptr<Library>& library : libraries.all) {
    if (library->api.CreateStatus != api.CreateStatus) continue;
    if (!cuda || library->cuda == *cuda) return library.get();
  }
  return nullptr;
}

}  // namespace

OrtStatus* AddCustomOps(const abi::Api& api, OrtSessionOptions* options, bool cuda) {
  const Library* found = FindLibrary(api, cuda);
  if (!found) {
    auto made = std::make_unique<Library>();
    made->api = api;
    made->cuda = cuda;
    if (OrtStatus* status = Fill(made.get())) return status;
    found = made.get();
    // Another thread may have been as quick: then there are two, which is as good.
    Libraries& libraries = GetLibraries();
    const std::lock_guard lock(libraries.mutex);
    libraries.all.push_back(std::move(made));
  }
  return api.AddCustomOpDomain(options, found->domain);
}

}  // namespace g4v::ort
