#include "ort/custom_ops.h"

#include <cmath>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cpu/attention/attention.h"
#include "kernels/cuda_library.h"
#include "ort/custom_kernel.h"

namespace g4v::ort {
namespace {

using kernels::CrossAttentionParams;

struct Shape {
  int64_t batch, rows, columns;
};

Shape ReadBatch(const abi::Api& api, const OrtValue* value, const char* name) {
  const auto sizes = ReadShape(api, value, 3, std::string("g4v.CrossAttention: ") + name);
  return {sizes[0], sizes[1], sizes[2]};
}

class CrossAttentionKernel {
 public:
  CrossAttentionKernel(const Library& library, const OrtKernelInfo* info, bool on_gpu)
      : library_(library),
        arena_(library.api, info),
        on_gpu_(on_gpu),
        heads_(Attribute(info, "num_heads", 1)),
        key_column_(Attribute(info, "key_column", 0)),
        value_column_(Attribute(info, "value_column", 0)) {}

  const abi::Api& api() const { return library_.api; }

  void Compute(OrtKernelContext* context) const {
    const OrtValue* queries = Input(api(), context, 0);
    const OrtValue* memory = Input(api(), context, 1);
    const Shape q = ReadBatch(api(), queries, "queries");
    const Shape m = ReadBatch(api(), memory, "memory");
    const int64_t width = q.columns / 3;
    CheckShapes(q, m, width);

    float* const out = Output(api(), context, 0, {q.batch, q.rows, width});

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
    // A tensor without elements may be null.
    const auto column = [](float* data, int64_t first) { return data ? data + first : nullptr; };
    float* own = Data(api(), queries);
    float* kept = Data(api(), memory);
    const auto result = rows(out, q.rows, width);
    p.q = in(rows(own, q.rows, q.columns));
    p.k_own = in(rows(column(own, width), q.rows, q.columns));
    p.v_own = in(rows(column(own, 2 * width), q.rows, q.columns));
    p.k_mem = in(rows(column(kept, key_column_), m.rows, m.columns));
    p.v_mem = in(rows(column(kept, value_column_), m.rows, m.columns));
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
    const kernels::Isa isa = kernels::ChosenIsa();
    const Arena::Scratch scratch(arena_, context, library_.host_memory,
                                 kernels::CpuWorkspaceSize(p, threads.threads(), isa));
    kernels::CrossAttentionCpu(p, scratch.data(), threads, isa);
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
    // Given back before the kernel has run: the arena hands it to what comes later on the stream.
    const Arena::Scratch scratch(arena_, context, memory, bytes);
    CheckCuda(cuda, cuda.cross_attention(&p, device, scratch.data(), bytes, stream));
  }

  static void CheckCuda(const kernels::CudaKernels& cuda, int32_t code) {
    if (code) throw StatusError(std::string("g4v.CrossAttention: ") + cuda.error_text(code));
  }

  int64_t Attribute(const OrtKernelInfo* info, const char* name, int64_t least) const {
    return ReadAttribute(api(), info, name, "g4v.CrossAttention: ", least);
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
      const std::optional<int64_t> end = CheckedAdd(column, width);
      if (!end || *end > m.columns) {
        throw StatusError("g4v.CrossAttention: columns " + std::to_string(column) + " to " +
                          (end ? std::to_string(*end) : "the largest number") +
                          " are outside memory's " + std::to_string(m.columns));
      }
    }
  }

  const Library& library_;
  const Arena arena_;
  bool on_gpu_;
  int64_t heads_;
  int64_t key_column_;
  int64_t value_column_;
};

// `table` is that of the copy of the library that makes the kernel.
template <bool kOnGpu>
OrtStatus* CreateCrossAttention(const abi::CustomOp*, const void* table, const OrtKernelInfo* info,
                                void** kernel) {
  const abi::Api api(table);
  return Guard(api,
               [&] { *kernel = new CrossAttentionKernel(*FindLibrary(api, {}), info, kOnGpu); });
}

Operator DescribeCrossAttention(bool on_gpu) {
  Operator op("CrossAttention", 2, 1);
  if (on_gpu) {
    op.GetExecutionProviderType = [](const abi::CustomOp*) { return "CUDAExecutionProvider"; };
  }
  op.CreateKernelV2 = on_gpu ? &CreateCrossAttention<true> : &CreateCrossAttention<false>;
  op.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
    const auto& attention = *static_cast<CrossAttentionKernel*>(kernel);
    return Guard(attention.api(), [&] { attention.Compute(context); });
  };
  op.KernelDestroy = [](void* kernel) { delete static_cast<CrossAttentionKernel*>(kernel); };
  return op;
}

OrtStatus* Fill(Library* library) {
  static const Operator on_cpu = DescribeCrossAttention(false);
  static const Operator on_gpu = DescribeCrossAttention(true);
  const abi::Api& api = library->api;
  return Guard(api, [&] {
    Check(
        api.CreateCpuMemoryInfo(abi::kDeviceAllocator, abi::kMemoryDefault, &library->host_memory));
    Check(api.CreateCustomOpDomain("g4v", &library->domain));
    const auto add = [&](const abi::CustomOp& op) {
      Check(api.CustomOpDomain_Add(library->domain, reinterpret_cast<const OrtCustomOp*>(&op)));
    };
    add(on_cpu);
    add(SkipNormOperator());
    add(GatedNormOperator());
    for (const Operator* op :
         {MatMulOperator(), WinogradConvOperator(), NormSiluWinogradConvOperator()}) {
      if (op) add(*op);
    }
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

}  // namespace

// Two copies of the library differ in the addresses of their functions.
const Library* FindLibrary(const abi::Api& api, std::optional<bool> cuda) {
  Libraries& libraries = GetLibraries();
  const std::lock_guard lock(libraries.mutex);
  for (const std::unique_ptr<Library>& library : libraries.all) {
    if (library->api.CreateStatus != api.CreateStatus) continue;
    if (!cuda || library->cuda == *cuda) return library.get();
  }
  return nullptr;
}

Operator::Operator(const char* of, size_t in, size_t out)
    : abi::CustomOp{}, name(of), inputs(in), outputs(out) {
  using abi::CustomOp;
  version = abi::kApiVersion;
  GetName = [](const CustomOp* op) { return static_cast<const Operator*>(op)->name; };
  GetExecutionProviderType = [](const CustomOp*) -> const char* { return nullptr; };
  GetInputTypeCount = [](const CustomOp* op) { return static_cast<const Operator*>(op)->inputs; };
  GetInputType = [](const CustomOp*, size_t) { return abi::kElementFloat; };
  GetOutputTypeCount = [](const CustomOp* op) { return static_cast<const Operator*>(op)->outputs; };
  GetOutputType = [](const CustomOp*, size_t) { return abi::kElementFloat; };
  GetInputCharacteristic = [](const CustomOp*, size_t) { return abi::kInputRequired; };
  GetOutputCharacteristic = [](const CustomOp*, size_t) { return abi::kInputRequired; };
  GetInputMemoryType = [](const CustomOp*, size_t) { return abi::kMemoryDefault; };
  GetVariadicInputMinArity = [](const CustomOp*) { return 1; };
  GetVariadicInputHomogeneity = [](const CustomOp*) { return 1; };
  GetVariadicOutputMinArity = [](const CustomOp*) { return 1; };
  GetVariadicOutputHomogeneity = [](const CustomOp*) { return 1; };
  GetStartVersion = [](const CustomOp*) { return 1; };
  GetEndVersion = [](const CustomOp*) { return 2147483647; };
}

OrtStatus* AddCustomOps(const abi::Api& api, OrtSessionOptions* options, bool cuda) {
  const Library* found = FindLibrary(api, cuda);
  if (!found) {
    auto made = std::make_unique<Library>();
    made->api = api;
    made->cuda = cuda;
    if (OrtStatus* status = Fill(made.get())) return status;
    found = made.get();
    // Another thread may have added one meanwhile: two of them do no harm.
    Libraries& libraries = GetLibraries();
    const std::lock_guard lock(libraries.mutex);
    libraries.all.push_back(std::move(made));
  }
  return api.AddCustomOpDomain(options, found->domain);
}

}  // namespace g4v::ort
