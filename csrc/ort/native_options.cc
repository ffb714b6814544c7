#include "ort/native_options.h"

#include <iterator>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "kernels/cpu/dispatch.h"
#include "ort/custom_ops.h"
#include "ort/rtx_plugin.h"

namespace g4v::ort {

NativeOptions::NativeOptions(const Environment& environment, const SessionOptions& options)
    : environment_(environment), api_(environment.api()) {
  Check(api_.CreateSessionOptions(&options_));
  try {
    Fill(options);
  } catch (...) {
    api_.ReleaseSessionOptions(options_);
    throw;
  }
}

NativeOptions::~NativeOptions() { api_.ReleaseSessionOptions(options_); }

void NativeOptions::Check(OrtStatus* status) const {
  environment_.Check(status, "ONNX Runtime refuses a session option");
}

void NativeOptions::AddFiles(const GraphFile& graph) {
  if (graph.files.empty()) return;
  std::vector<const char*> names;
  std::vector<char*> buffers;
  std::vector<size_t> lengths;
  for (const auto& [name, file] : graph.files) {
    names.push_back(name.c_str());
    // The C ABI has no const buffer; it is only read.
    buffers.push_back(reinterpret_cast<char*>(const_cast<uint8_t*>(file->data())));
    lengths.push_back(file->size());
  }
  Check(api_.AddExternalInitializersFromFilesInMemory(options_, names.data(), buffers.data(),
                                                      lengths.data(), names.size()));
}

void NativeOptions::Fill(const SessionOptions& options) {
  const int threads = options.threads > 0 ? options.threads : UsableCores();
  Check(api_.SetIntraOpNumThreads(options_, threads));
  Check(api_.SetInterOpNumThreads(options_, 1));
  Check(api_.SetSessionExecutionMode(options_, abi::kExecuteSequential));
  Check(api_.SetSessionGraphOptimizationLevel(options_, abi::kOptimizeAll));
  Check(api_.AddSessionConfigEntry(options_, "session.intra_op.allow_spinning",
                                   options.allow_spinning ? "1" : "0"));
  // Spinning threads stop when a run ends: between tokens and turns an assistant uses no CPU.
  Check(api_.AddSessionConfigEntry(options_, "session.force_spinning_stop", "1"));
  if (!options.external_data_folder.empty()) {
    Check(api_.AddSessionConfigEntry(options_,
                                     "session.model_external_initializers_file_folder_path",
                                     options.external_data_folder.c_str()));
  }
  if (options.cuda_graphs && options.device != "cuda") {
    throw Error(Code::InvalidArgument,
                "CUDA graphs are for \"cuda\", not for \"" + options.device + "\"");
  }
  if (options.device == "tensorrt-rtx") return AppendTensorRtRtx(options.device_id);
  if (options.device == "tensorrt") return AppendTensorRt(options.device_id);
  kernels::ChosenIsa();  // a wrong $G4V_CPU is an error of its own, and none of ONNX Runtime
  Check(AddCustomOps(api_, options_, options.device == "cuda"));
  if (options.device == "cuda") {
    AppendCuda(options);
  } else if (options.device != "cpu") {
    throw Error(Code::InvalidArgument,
                "unknown device \"" + options.device + "\"; a session runs on \"cpu\" or \"cuda\"");
  }
}

void NativeOptions::AppendTensorRtRtx(int device_id) {
  const OrtEpDevice* device = RtxPlugin::Get(environment_, {}).Device(device_id);
  environment_.Check(api_.SessionOptionsAppendExecutionProvider_V2(options_, environment_.get(),
                                                                   &device, 1, nullptr, nullptr, 0),
                     "the provider of TensorRT for RTX cannot be used");
}

void NativeOptions::AppendTensorRt(int device_id) {
  const std::string doing = "the TensorRT provider of ONNX Runtime " + environment_.version() +
                            " cannot be used (`g4v doctor` shows what is missing)";
  if (!environment_.HasProvider("TensorrtExecutionProvider")) {
    throw Error(Code::Runtime,
                "this ONNX Runtime has no TensorRT provider: install onnxruntime-gpu in place of "
                "onnxruntime, and `pip install \"g4v[tensorrt]\"`");
  }
  OrtTensorRTProviderOptionsV2* tensorrt = nullptr;
  environment_.Check(api_.CreateTensorRTProviderOptions(&tensorrt), doing);
  const std::string id = std::to_string(device_id);
  const char* keys[] = {"device_id"};
  const char* values[] = {id.c_str()};
  OrtStatus* status = api_.UpdateTensorRTProviderOptions(tensorrt, keys, values, std::size(keys));
  if (!status) status = api_.SessionOptionsAppendExecutionProvider_TensorRT_V2(options_, tensorrt);
  api_.ReleaseTensorRTProviderOptions(tensorrt);
  CheckProvider(status, doing, "g4v[cuda,tensorrt]");
}

void NativeOptions::AppendCuda(const SessionOptions& options) {
  const std::string doing = "the CUDA provider of ONNX Runtime " + environment_.version() +
                            " cannot be used (`g4v doctor` shows what is missing)";
  if (!environment_.HasProvider("CUDAExecutionProvider")) {
    throw Error(Code::Runtime,
                "this ONNX Runtime has no CUDA provider: install onnxruntime-gpu in place of "
                "onnxruntime, or use device \"cpu\"");
  }
  OrtCUDAProviderOptionsV2* cuda = nullptr;
  environment_.Check(api_.CreateCUDAProviderOptions(&cuda), doing);
  const std::string id = std::to_string(options.device_id);
  // TF32 would cost three digits of the fp32 graphs' agreement with PyTorch.
  std::vector<const char*> keys = {"device_id", "cudnn_conv_algo_search", "use_tf32"};
  std::vector<const char*> values = {id.c_str(), "HEURISTIC", "0"};
  if (options.cuda_graphs) {
    keys.push_back("enable_cuda_graph");
    values.push_back("1");
  }
  OrtStatus* status = api_.UpdateCUDAProviderOptions(cuda, keys.data(), values.data(), keys.size());
  if (!status) status = api_.SessionOptionsAppendExecutionProvider_CUDA_V2(options_, cuda);
  api_.ReleaseCUDAProviderOptions(cuda);
  CheckProvider(status, doing, "g4v[cuda]");
}

void NativeOptions::CheckProvider(OrtStatus* status, const std::string& doing,
                                  const std::string& extra) const {
  try {
    environment_.Check(status, doing);
  } catch (const Error& error) {
    const std::string message = error.what();
    const bool library = message.find("cannot open shared object file") != std::string::npos;
    throw Error(error.code(), message + (library ? "; `pip install \"" + extra +
                                                       "\"` brings the libraries that it needs"
                                                 : ""));
  }
}

}  // namespace g4v::ort
