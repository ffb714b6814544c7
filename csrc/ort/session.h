// One ONNX graph, ready to run. Thin RAII over the C ABI: host memory in, host memory out, errors
// as g4v::Error.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/mapped_file.h"
#include "ort/library.h"
#include "ort/tensor.h"

namespace g4v::ort {

struct SessionOptions {
  int threads = 0;  // threads of one operator; 0 = one for each core
  // "cpu", "cuda", or for engines "tensorrt" or "tensorrt-rtx"; an error where it cannot be used.
  std::string device = "cpu";
  int device_id = 0;  // which GPU
  bool allow_spinning =
      false;  // idle threads spin while a run is under way: lower latency, more CPU time
  // Runs whose control has a graph's number are captured as a CUDA graph and replayed. For "cuda"
  // alone, and for graphs of which every node runs there; see captured_session.h.
  bool cuda_graphs = false;
  // The folder that external data of a graph in memory are in; "": such a graph has none.
  std::string external_data_folder = {};
};

// A graph, and the session that is to run it.
struct GraphFile {
  std::string path;
  SessionOptions options;
  // The graph itself; where it is empty, the file is opened. The path is then for errors, and
  // external data are in options.external_data_folder.
  std::string model = {};
  // Files of external data that are in memory, by the names that the graph has for them: those on the
  // disk are not opened. ONNX Runtime copies what it needs while the session is made.
  std::vector<std::pair<std::string, std::shared_ptr<const MappedFile>>> files = {};
};

constexpr int kNoCudaGraph = -1;  // launched one by one, though the session has cuda_graphs

// Stops running graphs: share one between a thread that calls Session::Run and a thread that
// cancels.
class RunControl {
 public:
  // cuda_graph: the number, from 1, of the CUDA graph that the runs with this control are, or
  // kNoCudaGraph. Without it runs of a session with `cuda_graphs` are the graph number 0.
  explicit RunControl(std::shared_ptr<Environment> environment,
                      std::optional<int> cuda_graph = std::nullopt);
  ~RunControl();
  RunControl(const RunControl&) = delete;
  RunControl& operator=(const RunControl&) = delete;

  void Terminate();  // from any thread; every Run with this control throws Error(Cancelled)
  void Reset();      // makes the control usable again; no Run may be under way
  bool terminated() const { return terminated_.load(std::memory_order_acquire); }
  // Terminate as a LibraryWork::Stop. control: a RunControl.
  static void Stop(void* control) noexcept;

 private:
  friend class Session;

  std::shared_ptr<Environment> environment_;
  OrtRunOptions* options_ = nullptr;
  std::atomic<bool> terminated_{false};
};

class Session {
 public:
  // Loads the graph at `path` with its external data. Throws Error(Bundle) where the graph is
  // unusable and Error(Runtime) where the device is.
  Session(std::shared_ptr<Environment> environment, const std::string& path,
          const SessionOptions& options);
  Session(std::shared_ptr<Environment> environment, const GraphFile& graph);
  // Loads a graph from memory; `name` is for errors.
  Session(std::shared_ptr<Environment> environment, std::span<const char> model,
          const std::string& name, const SessionOptions& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const std::vector<std::string>& input_names() const { return input_names_; }
  const std::vector<std::string>& output_names() const { return output_names_; }
  bool has_input(const std::string& name) const;
  bool has_output(const std::string& name) const;
  // Declared shape, -1 for a dynamic dimension. Throws Error(Bundle) where the graph has no such
  // input or output.
  const std::vector<int64_t>& input_shape(const std::string& name) const;
  const std::vector<int64_t>& output_shape(const std::string& name) const;
  // Declared type of an input. Throws Error(Bundle) where the graph has no such input, or one of
  // another type than those of DType.
  DType input_type(const std::string& name) const;
  const std::string& device() const { return device_; }

  // A tensor in the device's memory; what it holds is not set. Throws Error(Runtime) where there is
  // no room.
  std::unique_ptr<DeviceTensor> Allocate(DType dtype, std::vector<int64_t> shape);

  // Runs with caller-owned inputs and preallocated outputs of exactly the right shape; nothing is
  // copied on the CPU. An output may share its memory with an input where the graph is made for it
  // (the KV cache). Any number of threads may run one session at once. Throws Error(Cancelled)
  // after control->Terminate().
  void Run(std::span<const NamedTensor> inputs, std::span<const NamedTensor> outputs,
           RunControl* control = nullptr);

  // Runs and returns copies of the named float outputs, allocated by ONNX Runtime, in the order of
  // `outputs`.
  std::vector<HostTensor> Run(std::span<const NamedTensor> inputs,
                              std::span<const std::string> outputs, RunControl* control = nullptr);

 private:
  struct Call;

  void Describe();  // reads names, types and shapes
  void Release();

  std::shared_ptr<Environment> environment_;
  std::string path_;
  std::string device_;
  int device_id_ = 0;
  OrtSession* session_ = nullptr;
  OrtMemoryInfo* host_memory_ = nullptr;
  OrtAllocator* allocator_ = nullptr;  // of the device's memory; made when it is asked for
  std::mutex allocator_mutex_;
  std::vector<std::string> input_names_;
  std::vector<std::string> output_names_;
  std::vector<int> input_types_;  // as in abi.h
  std::vector<std::vector<int64_t>> input_shapes_;
  std::vector<std::vector<int64_t>> output_shapes_;
};

// Makes a session of one node and releases it, on "cpu" or "cuda". Throws Error(Runtime) where the device
// cannot be used.
void ProbeDevice(const std::shared_ptr<Environment>& environment, const std::string& device);

// "cpu" and "cuda" stay; "auto" becomes "cuda" where the library has the CUDA provider and a CUDA
// session can be made, else "cpu". `why`, where given, receives the reason of the choice. Throws
// Error(InvalidArgument) for other names.
std::string ResolveDevice(const std::shared_ptr<Environment>& environment,
                          const std::string& device, std::string* why = nullptr);

}  // namespace g4v::ort
