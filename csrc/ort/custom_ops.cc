#include "ort/custom_ops.h"

#include <cmath>
#include <mutex>
#include <string>
#include <utility>

#include "base/cpu.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cuda_library.h"

namespace g4v::ort {
namespace {

using kernels::CrossAttentionParams;

// Lives as long as the process, as do all sessions' uses of it. The library passes its own table to
// every kernel, but this one has the functions by name.
abi::Api g_api;
OrtMemoryInfo* g_host_memory = nullptr;

class StatusError {
 public:
  explicit StatusError(OrtStatus* status) : status_(status) {}
  explicit StatusError(const std::string& message)
      : status_(g_api.CreateStatus(abi::kInvalidArgument, message.c_str())) {}
  OrtStatus* Take() { return std::exchange(status_, nullptr); }

 private:
  OrtStatus* status_;
};

void Check(OrtStatus* status) {
  if (status) throw StatusError(status);
}

// The threads of the session, which the kernel must share: two sets of threads on one processor
// would wait for each other.
class SessionThreads final : public kernels::Parallel {
 public:
  explicit SessionThreads(OrtKernelContext* context) : context_(context) {}

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
    Check(g_api.KernelContext_ParallelFor(context_, run, static_cast<size_t>(count), 0, &call));
  }

 private:
  OrtKernelContext* context_;
};

struct Shape {
  int64_t batch, rows, columns;
};

Shape ReadShape(const OrtValue* value, const char* name) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  Check(g_api.GetTensorTypeAndShape(value, &info));
  size_t rank = 0;
  int64_t sizes[3] = {};
  OrtStatus* status = g_api.GetDimensionsCount(info, &rank);
  if (!status && rank == 3) status = g_api.GetDimensions(info, sizes, 3);
  g_api.ReleaseTensorTypeAndShapeInfo(info);
  Check(status);
  if (rank != 3) {
    throw StatusError(std::string("g4v.CrossAttention: ") + name + " must have 3 dimensions, not " +
                      std::to_string(rank));
  }
  return {sizes[0], sizes[1], sizes[2]};
}

const OrtValue* Input(OrtKernelContext* context, size_t index) {
  const OrtValue* value = nullptr;
  Check(g_api.KernelContext_GetInput(context, index, &value));
  return value;
}

float* Data(const OrtValue* value) {
  void* data = nullptr;
  // The C ABI has no way to read a tensor as const.
  Check(g_api.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
  return static_cast<float*>(data);
}

class CrossAttentionKernel {
 public:
  CrossAttentionKernel(const OrtKernelInfo* info, bool on_gpu)
      : on_gpu_(on_gpu),
        heads_(Attribute(info, "num_heads")),
        key_column_(Attribute(info, "key_column")),
        value_column_(Attribute(info, "value_column")) {
    if (heads_ <= 0) throw StatusError("g4v.CrossAttention: num_heads must be above 0");
  }

  void Compute(OrtKernelContext* context) const {
    const OrtValue* queries = Input(context, 0);
    const OrtValue* memory = Input(context, 1);
    const Shape q = ReadShape(queries, "queries");
    const Shape m = ReadShape(memory, "memory");
    const int64_t width = q.columns / 3;
    CheckShapes(q, m, width);

    const int64_t shape[] = {q.batch, q.rows, width};
    OrtValue* out = nullptr;
    Check(g_api.KernelContext_GetOutput(context, 0, shape, 3, &out));

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
    float* own = Data(queries);
    float* kept = Data(memory);
    const auto result = rows(Data(out), q.rows, width);
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
  static void RunOnCpu(const CrossAttentionParams& p, OrtKernelContext* context) {
    SessionThreads threads(context);
    const kernels::CpuVersion version = kernels::BestCpuVersion();
    void* workspace = nullptr;
    if (const size_t bytes = kernels::CpuWorkspaceSize(p, threads.threads(), version)) {
      Check(g_api.KernelContext_GetScratchBuffer(context, g_host_memory, bytes, &workspace));
    }
    kernels::CrossAttentionCpu(p, workspace, threads, version);
  }

  // On the session's stream, in the memory of the device that holds `tensor`.
  static void RunOnGpu(const CrossAttentionParams& p, OrtKernelContext* context,
                       const OrtValue* tensor) {
    const kernels::CudaKernels& cuda = *kernels::LoadCudaKernels();  // made sure at registration
    const OrtMemoryInfo* memory = nullptr;
    int device = 0;
    void* stream = nullptr;
    Check(g_api.GetTensorMemoryInfo(tensor, &memory));
    Check(g_api.MemoryInfoGetId(memory, &device));
    Check(g_api.KernelContext_GetGPUComputeStream(context, &stream));
    G4vCudaPlan plan{};
    CheckCuda(cuda, cuda.cross_attention_plan(&p, device, &plan));
    const auto bytes = static_cast<size_t>(plan.workspace_bytes);
    void* workspace = nullptr;
    if (bytes > 0) {
      Check(g_api.KernelContext_GetScratchBuffer(context, memory, bytes, &workspace));
    }
    CheckCuda(cuda, cuda.cross_attention(&p, device, workspace, bytes, stream));
  }

  static void CheckCuda(const kernels::CudaKernels& cuda, int32_t code) {
    if (code) throw StatusError(std::string("g4v.CrossAttention: ") + cuda.error_text(code));
  }

  static int64_t Attribute(const OrtKernelInfo* info, const char* name) {
    int64_t value = 0;
    Check(g_api.KernelInfoGetAttribute_int64(info, name, &value));
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

  bool on_gpu_;
  int64_t heads_;
  int64_t key_column_;
  int64_t value_column_;
};

// Runs `action`; what it throws becomes a status.
template <class Action>
OrtStatus* Guard(Action&& action) noexcept {
  try {
    action();
    return nullptr;
  } catch (StatusError& error) {
    return error.Take();
  } catch (const std::exception& error) {
    return g_api.CreateStatus(abi::kInvalidArgument, error.what());
  }
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
  op.CreateKernelV2 = [](const CustomOp*, const void*, const OrtKernelInfo* info, void** kernel) {
    return Guard([&] { *kernel = new CrossAttentionKernel(info, false); });
  };
  if (on_gpu) {
    op.CreateKernelV2 = [](const CustomOp*, const void*, const OrtKernelInfo* info, void** kernel) {
      return Guard([&] { *kernel = new CrossAttentionKernel(info, true); });
    };
  }
  op.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
    return Guard([&] { static_cast<CrossAttentionKernel*>(kernel)->Compute(context); });
  };
  op.KernelDestroy = [](void* kernel) { delete static_cast<CrossAttentionKernel*>(kernel); };
  return op;
}

OrtStatus* MakeDomain(const abi::Api& api, OrtCustomOpDomain** domain) {
  static const abi::CustomOp on_cpu = DescribeCrossAttention(false);
  static const abi::CustomOp on_gpu = DescribeCrossAttention(true);
  g_api = api;
  OrtStatus* status =
      api.CreateCpuMemoryInfo(abi::kDeviceAllocator, abi::kMemoryDefault, &g_host_memory);
  if (!status) status = api.CreateCustomOpDomain("g4v", domain);
  const auto add = [&](const abi::CustomOp& op) {
    if (!status)
      status = api.CustomOpDomain_Add(*domain, reinterpret_cast<const OrtCustomOp*>(&op));
  };
  add(on_cpu);
  if (kernels::LoadCudaKernels()) add(on_gpu);
  return status;
}

}  // namespace

OrtStatus* AddCustomOps(const abi::Api& api, OrtSessionOptions* options) {
  static std::mutex mutex;
  static OrtCustomOpDomain* domain = nullptr;
  {
    const std::lock_guard lock(mutex);
    if (!domain) {
      OrtCustomOpDomain* made = nullptr;
      if (OrtStatus* status = MakeDomain(api, &made)) return status;
      domain = made;
    }
    if (api.CreateStatus != g_api.CreateStatus) {
      return api.CreateStatus(
          abi::kInvalidArgument,
          "g4v's operators are in use with another copy of ONNX Runtime in this "
          "process; use one copy for all sessions");
    }
  }
  return api.AddCustomOpDomain(options, domain);
}

}  // namespace g4v::ort
