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
  const auto check = device_ == "cpu" ? &Environment::CheckOnCpu : &Environment::Check;
  try {
    const FirstAlone alone;
    (*environment_.*check)(
        model.empty()
            ? api.CreateSession(environment_->get(), path_.c_str(), native.get(), &session_)
            : api.CreateSessionFromArray(environment_->get(), model.data(), model.size(),
                                         native.get(), &session_),
        "the graph " + path_ + " cannot be loaded");
    alone.Succeeded();
  } catch (const Error& error) {
    // On the CPU only the graph can be at fault; with a GPU the device may be.
    throw Error(device_ == "cpu" ? Code::Bundle : Code::Runtime, error.what());
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

}  // namespace g4v::ort
