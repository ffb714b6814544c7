#include "ort/session.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>

#include "base/error.h"
#include "base/process.h"
#include "ort/gpu_work.h"
#include "ort/native_options.h"

namespace g4v::ort {
namespace {

// The library notes a domain of operators at the first session that has it, and two at once can
// trip over each other ("the domain is already exist"). So the first session of all is made alone.
class FirstAlone {
 public:
  FirstAlone() : lock_(mutex_, std::defer_lock) {
    if (!known_.load(std::memory_order_acquire)) lock_.lock();
  }
  void Succeeded() const {
    // Static objects of the library that the first session needs are there now.
    if (!known_.exchange(true, std::memory_order_acq_rel)) CloseLibraryWorkAtExit();
  }

 private:
  static inline std::mutex mutex_;
  static inline std::atomic<bool> known_{false};
  std::unique_lock<std::mutex> lock_;
};

int ElementType(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return abi::kElementFloat;
    case DType::I64:
      return abi::kElementInt64;
    case DType::I32:
      return abi::kElementInt32;
    case DType::F16:
      return abi::kElementFloat16;
    case DType::U8:
      return abi::kElementUint8;
  }
  throw Error(Code::Internal, "unknown dtype " + std::to_string(static_cast<int>(dtype)));
}

size_t ElementCount(const std::vector<int64_t>& shape) {
  size_t count = 1;
  for (const int64_t dimension : shape) {
    if (dimension < 0) throw Error(Code::Internal, "a tensor to run has a negative dimension");
    count *= static_cast<size_t>(dimension);
  }
  return count;
}

template <class T>
TensorView MakeView(DType dtype, const T* data, std::vector<int64_t> shape) {
  // The C ABI has no const tensor; inputs are only read.
  return {dtype, const_cast<T*>(data), std::move(shape)};
}

using NameFunction = OrtStatus* (*)(const OrtSession*, size_t, OrtAllocator*, char**);
using TypeFunction = OrtStatus* (*)(const OrtSession*, size_t, OrtTypeInfo**);

std::string ReadName(const Environment& environment, const OrtSession* session,
                     NameFunction function, size_t index) {
  const abi::Api& api = environment.api();
  OrtAllocator* allocator = nullptr;
  environment.Check(api.GetAllocatorWithDefaultOptions(&allocator), "no allocator");
  char* name = nullptr;
  environment.Check(function(session, index, allocator, &name), "a graph's names cannot be read");
  const std::string copy = name;
  environment.Check(api.AllocatorFree(allocator, name), "a name cannot be freed");
  return copy;
}

std::vector<int64_t> ReadShape(const Environment& environment,
                               const OrtTensorTypeAndShapeInfo* info) {
  const abi::Api& api = environment.api();
  size_t rank = 0;
  environment.Check(api.GetDimensionsCount(info, &rank), "a shape cannot be read");
  std::vector<int64_t> shape(rank);
  environment.Check(api.GetDimensions(info, shape.data(), rank), "a shape cannot be read");
  return shape;
}

// element: receives the type of the elements, 0 where the value is no tensor.
std::vector<int64_t> ReadDeclaredShape(const Environment& environment, const OrtSession* session,
                                       TypeFunction function, size_t index, int* element) {
  const abi::Api& api = environment.api();
  OrtTypeInfo* type = nullptr;
  environment.Check(function(session, index, &type), "a graph's types cannot be read");
  const std::unique_ptr<OrtTypeInfo, decltype(api.ReleaseTypeInfo)> owner(type,
                                                                          api.ReleaseTypeInfo);
  const OrtTensorTypeAndShapeInfo* info = nullptr;
  environment.Check(api.CastTypeInfoToTensorInfo(type, &info), "a graph's types cannot be read");
  *element = 0;
  if (!info) return {};
  environment.Check(api.GetTensorElementType(info, element), "a graph's types cannot be read");
  return ReadShape(environment, info);
}

}  // namespace

size_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return 4;
    case DType::I64:
      return 8;
    case DType::I32:
      return 4;
    case DType::F16:
      return 2;
    case DType::U8:
      return 1;
  }
  return 0;
}

const char* NameOf(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return "float32";
    case DType::I64:
      return "int64";
    case DType::I32:
      return "int32";
    case DType::F16:
      return "float16";
    case DType::U8:
      return "uint8";
  }
  return "unknown";
}

TensorView View(std::vector<float>& data, std::vector<int64_t> shape) {
  return MakeView(DType::F32, data.data(), std::move(shape));
}
TensorView View(const std::vector<float>& data, std::vector<int64_t> shape) {
  return MakeView(DType::F32, data.data(), std::move(shape));
}
TensorView View(const float* data, std::vector<int64_t> shape) {
  return MakeView(DType::F32, data, std::move(shape));
}
TensorView View(const std::vector<int64_t>& data, std::vector<int64_t> shape) {
  return MakeView(DType::I64, data.data(), std::move(shape));
}
TensorView View(const std::vector<int32_t>& data, std::vector<int64_t> shape) {
  return MakeView(DType::I32, data.data(), std::move(shape));
}
TensorView View(const int64_t* data, std::vector<int64_t> shape) {
  return MakeView(DType::I64, data, std::move(shape));
}
TensorView View(const int32_t* data, std::vector<int64_t> shape) {
  return MakeView(DType::I32, data, std::move(shape));
}

RunControl::RunControl(std::shared_ptr<Environment> environment, std::optional<int> cuda_graph)
    : environment_(std::move(environment)) {
  const abi::Api& api = environment_->api();
  environment_->Check(api.CreateRunOptions(&options_), "ONNX Runtime has no run options");
  if (!cuda_graph) return;
  const std::string number = std::to_string(*cuda_graph);
  OrtStatus* status = api.AddRunConfigEntry(options_, "gpu_graph_id", number.c_str());
  if (!status) return;
  api.ReleaseRunOptions(options_);
  environment_->Check(status, "ONNX Runtime takes no number of a CUDA graph");
}

RunControl::~RunControl() { environment_->api().ReleaseRunOptions(options_); }

void RunControl::Terminate() {
  terminated_.store(true, std::memory_order_release);
  environment_->Check(environment_->api().RunOptionsSetTerminate(options_),
                      "a run cannot be cancelled");
}

void RunControl::Stop(void* control) noexcept {
  try {
    static_cast<RunControl*>(control)->Terminate();
  } catch (const Error&) {  // then it runs to its end
  }
}

void RunControl::Reset() {
  environment_->Check(environment_->api().RunOptionsUnsetTerminate(options_),
                      "a run cannot be reset");
  terminated_.store(false, std::memory_order_release);
}

Session::Session(std::shared_ptr<Environment> environment, const std::string& path,
                 const SessionOptions& options)
    : Session(std::move(environment), GraphFile{path, options}) {}

Session::Session(std::shared_ptr<Environment> environment, const GraphFile& graph)
    : environment_(std::move(environment)),
      path_(graph.path),
      device_(graph.options.device),
      device_id_(graph.options.device_id) {
  const LibraryWork library(LibraryWork::Kind::kMake);
  const GpuWork work(device_ != "cpu");
  NativeOptions native(*environment_, graph.options);
  native.AddFiles(graph);
  const abi::Api& api = environment_->api();
  const std::string& model = graph.model;
  try {
    const FirstAlone alone;
    environment_->Check(
        model.empty()
            ? api.CreateSession(environment_->get(), path_.c_str(), native.get(), &session_)
            : api.CreateSessionFromArray(environment_->get(), model.data(), model.size(),
                                         native.get(), &session_),
        "the graph " + path_ + " cannot be loaded");
    alone.Succeeded();
  } catch (const Error& error) {
    const std::string message = error.what();
    if (message.find("std::bad_alloc") != std::string::npos) throw std::bad_alloc();
    // On the CPU only the graph can be at fault; with a GPU the device may be.
    throw Error(device_ == "cpu" ? Code::Bundle : Code::Runtime, message);
  }
  Describe();
}

Session::Session(std::shared_ptr<Environment> environment, std::span<const char> model,
                 const std::string& name, const SessionOptions& options)
    : environment_(std::move(environment)),
      path_(name),
      device_(options.device),
      device_id_(options.device_id) {
  const LibraryWork library(LibraryWork::Kind::kMake);
  const GpuWork work(device_ != "cpu");
  const NativeOptions native(*environment_, options);
  const FirstAlone alone;
  environment_->Check(environment_->api().CreateSessionFromArray(
                          environment_->get(), model.data(), model.size(), native.get(), &session_),
                      "the graph " + name + " cannot be loaded");
  alone.Succeeded();
  Describe();
}

void Session::Describe() {
  const abi::Api& api = environment_->api();
  try {
    environment_->Check(
        api.CreateCpuMemoryInfo(abi::kDeviceAllocator, abi::kMemoryDefault, &host_memory_),
        "no memory info");
    size_t inputs = 0;
    size_t outputs = 0;
    environment_->Check(api.SessionGetInputCount(session_, &inputs),
                        "a graph's inputs cannot be read");
    environment_->Check(api.SessionGetOutputCount(session_, &outputs),
                        "a graph's outputs cannot be read");
    for (size_t i = 0; i < inputs; ++i) {
      input_names_.push_back(ReadName(*environment_, session_, api.SessionGetInputName, i));
      int element = 0;
      input_shapes_.push_back(
          ReadDeclaredShape(*environment_, session_, api.SessionGetInputTypeInfo, i, &element));
      input_types_.push_back(element);
    }
    for (size_t i = 0; i < outputs; ++i) {
      output_names_.push_back(ReadName(*environment_, session_, api.SessionGetOutputName, i));
      int element = 0;
      output_shapes_.push_back(
          ReadDeclaredShape(*environment_, session_, api.SessionGetOutputTypeInfo, i, &element));
    }
  } catch (...) {
    Release();
    throw;
  }
}

void Session::Release() {
  const abi::Api& api = environment_->api();
  if (allocator_) api.ReleaseAllocator(allocator_);
  if (host_memory_) api.ReleaseMemoryInfo(host_memory_);
  api.ReleaseSession(session_);
}

Session::~Session() {
  const LibraryWork library(LibraryWork::Kind::kMake, std::nothrow);
  if (!library.began()) return;          // the process ends
  const GpuWork work(device_ != "cpu");  // gives memory back
  Release();
}

std::unique_ptr<DeviceTensor> Session::Allocate(DType dtype, std::vector<int64_t> shape) {
  const LibraryWork library(LibraryWork::Kind::kRun);
  const GpuWork work(device_ != "cpu");
  const abi::Api& api = environment_->api();
  const std::lock_guard<std::mutex> lock(allocator_mutex_);
  if (!allocator_) {
    OrtMemoryInfo* memory = nullptr;
    environment_->Check(
        api.CreateMemoryInfo(device_ == "cpu" ? "Cpu" : "Cuda", abi::kDeviceAllocator, device_id_,
                             abi::kMemoryDefault, &memory),
        "no memory info");
    OrtStatus* status = api.CreateAllocator(session_, memory, &allocator_);
    api.ReleaseMemoryInfo(memory);
    environment_->Check(status, "no memory of the device \"" + device_ + "\" can be had");
  }
  TensorView view{dtype, nullptr, std::move(shape), nullptr};
  environment_->Check(api.CreateTensorAsOrtValue(allocator_, view.shape.data(), view.shape.size(),
                                                 ElementType(dtype), &view.value),
                      std::to_string(ElementCount(view.shape) * SizeOf(dtype)) +
                          " bytes on the device \"" + device_ + "\" cannot be had");
  OrtValue* const value = view.value;
  auto tensor = std::make_unique<DeviceTensor>(environment_, value, std::move(view));
  return tensor;
}

DeviceTensor::DeviceTensor(std::shared_ptr<Environment> environment, OrtValue* value,
                           TensorView view)
    : environment_(std::move(environment)), view_(std::move(view)) {
  view_.value = value;
  OrtStatus* status = environment_->api().GetTensorMutableData(value, &view_.data);
  if (!status) return;
  environment_->api().ReleaseValue(value);
  environment_->Check(status, "a tensor of the device cannot be used");
}

DeviceTensor::~DeviceTensor() { environment_->api().ReleaseValue(view_.value); }

std::unique_ptr<DeviceTensor> DeviceTensor::Part(int64_t first, std::vector<int64_t> shape) const {
  const abi::Api& api = environment_->api();
  const size_t size = SizeOf(view_.dtype);
  const size_t count = ElementCount(shape);
  if (first < 0 || static_cast<size_t>(first) + count > ElementCount(view_.shape)) {
    throw Error(Code::Internal, "a part of a device's tensor goes beyond it");
  }
  TensorView view{view_.dtype, nullptr, std::move(shape), nullptr};
  const OrtMemoryInfo* memory = nullptr;  // the tensor's own
  environment_->Check(api.GetTensorMemoryInfo(view_.value, &memory), "no memory info");
  char* const data = static_cast<char*>(view_.data) + static_cast<size_t>(first) * size;
  environment_->Check(
      api.CreateTensorWithDataAsOrtValue(memory, data, count * size, view.shape.data(),
                                         view.shape.size(), ElementType(view.dtype), &view.value),
      "a part of a device's tensor cannot be used");
  OrtValue* const value = view.value;
  return std::make_unique<DeviceTensor>(environment_, value, std::move(view));
}

bool Session::has_input(const std::string& name) const {
  return std::find(input_names_.begin(), input_names_.end(), name) != input_names_.end();
}

bool Session::has_output(const std::string& name) const {
  return std::find(output_names_.begin(), output_names_.end(), name) != output_names_.end();
}

const std::vector<int64_t>& Session::input_shape(const std::string& name) const {
  const auto found = std::find(input_names_.begin(), input_names_.end(), name);
  if (found == input_names_.end())
    throw Error(Code::Bundle, path_ + " has no input \"" + name + "\"");
  return input_shapes_[static_cast<size_t>(found - input_names_.begin())];
}

const std::vector<int64_t>& Session::output_shape(const std::string& name) const {
  const auto found = std::find(output_names_.begin(), output_names_.end(), name);
  if (found == output_names_.end())
    throw Error(Code::Bundle, path_ + " has no output \"" + name + "\"");
  return output_shapes_[static_cast<size_t>(found - output_names_.begin())];
}

DType Session::input_type(const std::string& name) const {
  input_shape(name);  // throws where there is none
  const auto found = std::find(input_names_.begin(), input_names_.end(), name);
  const int element = input_types_[static_cast<size_t>(found - input_names_.begin())];
  for (const DType dtype : {DType::F32, DType::I64, DType::I32, DType::F16, DType::U8}) {
    if (ElementType(dtype) == element) return dtype;
  }
  throw Error(Code::Bundle, path_ + ": the input \"" + name +
                                "\" has a type that this g4v does not know; update g4v");
}

// The values of one Run call; releases all of them but those of the caller.
struct Session::Call {
  explicit Call(Session& session) : session(session), api(session.environment_->api()) {}
  ~Call() {
    for (const auto* values : {&inputs, &outputs}) {
      for (OrtValue* value : *values) {
        const bool mine = std::find(lent.begin(), lent.end(), value) == lent.end();
        if (value && mine) api.ReleaseValue(value);
      }
    }
  }

  OrtValue* Wrap(const NamedTensor& named) {
    const TensorView& tensor = named.tensor;
    if (tensor.value) return lent.emplace_back(tensor.value);
    OrtValue* value = nullptr;
    const size_t bytes = ElementCount(tensor.shape) * SizeOf(tensor.dtype);
    session.environment_->Check(api.CreateTensorWithDataAsOrtValue(
                                    session.host_memory_, tensor.data, bytes, tensor.shape.data(),
                                    tensor.shape.size(), ElementType(tensor.dtype), &value),
                                "the tensor " + named.name + " cannot be used");
    return value;
  }

  void AddInputs(std::span<const NamedTensor> tensors) {
    inputs.reserve(tensors.size());
    for (const NamedTensor& tensor : tensors) {
      input_names.push_back(tensor.name.c_str());
      inputs.push_back(Wrap(tensor));
    }
  }

  void Execute(RunControl* control) {
    if (control && control->terminated()) throw Error(Code::Cancelled, "cancelled");
    const LibraryWork library(LibraryWork::Kind::kRun, control ? &RunControl::Stop : nullptr,
                              control);
    const GpuWork work(session.device_ != "cpu");
    OrtStatus* status =
        api.Run(session.session_, control ? control->options_ : nullptr, input_names.data(),
                inputs.data(), inputs.size(), output_names.data(), outputs.size(), outputs.data());
    if (status && control && control->terminated()) {
      api.ReleaseStatus(status);
      throw Error(Code::Cancelled, "cancelled");
    }
    session.environment_->Check(status, "running " + session.path_ + " failed");
  }

  HostTensor CopyFloats(size_t index) {
    const Environment& environment = *session.environment_;
    OrtTensorTypeAndShapeInfo* info = nullptr;
    environment.Check(api.GetTensorTypeAndShape(outputs[index], &info),
                      "an output's shape cannot be read");
    const std::unique_ptr<OrtTensorTypeAndShapeInfo, decltype(api.ReleaseTensorTypeAndShapeInfo)>
        owner(info, api.ReleaseTensorTypeAndShapeInfo);
    int element = 0;
    environment.Check(api.GetTensorElementType(info, &element), "an output's type cannot be read");
    if (element != abi::kElementFloat) {
      throw Error(Code::Bundle,
                  session.path_ + ": the output \"" + output_names[index] + "\" is not float32");
    }
    HostTensor tensor;
    tensor.shape = ReadShape(environment, info);
    void* data = nullptr;
    environment.Check(api.GetTensorMutableData(outputs[index], &data), "an output cannot be read");
    const float* floats = static_cast<const float*>(data);
    tensor.data.assign(floats, floats + ElementCount(tensor.shape));
    return tensor;
  }

  Session& session;
  const abi::Api& api;
  std::vector<const char*> input_names;
  std::vector<const char*> output_names;
  std::vector<OrtValue*> inputs;
  std::vector<OrtValue*> outputs;
  std::vector<OrtValue*> lent;  // by DeviceTensors
};

void Session::Run(std::span<const NamedTensor> inputs, std::span<const NamedTensor> outputs,
                  RunControl* control) {
  Call call(*this);
  call.AddInputs(inputs);
  call.outputs.reserve(outputs.size());
  for (const NamedTensor& tensor : outputs) {
    call.output_names.push_back(tensor.name.c_str());
    call.outputs.push_back(call.Wrap(tensor));
  }
  call.Execute(control);
}

std::vector<HostTensor> Session::Run(std::span<const NamedTensor> inputs,
                                     std::span<const std::string> outputs, RunControl* control) {
  Call call(*this);
  call.AddInputs(inputs);
  for (const std::string& name : outputs) call.output_names.push_back(name.c_str());
  call.outputs.assign(outputs.size(), nullptr);
  call.Execute(control);
  std::vector<HostTensor> tensors;
  for (size_t i = 0; i < outputs.size(); ++i) tensors.push_back(call.CopyFloats(i));
  return tensors;
}

}  // namespace g4v::ort
