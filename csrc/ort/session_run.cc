// Runs of a session: what one call of ONNX Runtime needs, and how it is cancelled.
#include <algorithm>

#include "base/error.h"
#include "base/process.h"
#include "ort/gpu_work.h"
#include "ort/session.h"

namespace g4v::ort {

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
    const auto check = session.device_ == "cpu" ? &Environment::CheckOnCpu : &Environment::Check;
    (*session.environment_.*check)(status, "running " + session.path_ + " failed");
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
