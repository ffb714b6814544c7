#include <array>

#include "base/error.h"
#include "ort/session.h"

namespace g4v::ort {
namespace {

// A one-node ONNX model (y = Identity(x), one float), enough to see whether a provider starts.
//   ir_version 8, opset 13
//   graph "p" { node Identity(x) -> y; input x: float[1]; output y: float[1] }
constexpr std::array<char, 63> kProbeModel = {
    0x08, 0x08, 0x42, 0x02, 0x10, 0x0d, 0x3a, 0x37,                                      // model
    0x0a, 0x10, 0x0a, 0x01, 'x',  0x12, 0x01, 'y',                                       // node
    0x22, 0x08, 'I',  'd',  'e',  'n',  't',  'i',  't',  'y',                           //
    0x12, 0x01, 'p',                                                                     // name
    0x5a, 0x0f, 0x0a, 0x01, 'x',  0x12, 0x0a, 0x0a, 0x08, 0x08, 0x01, 0x12, 0x04, 0x0a,  // input
    0x02, 0x08, 0x01,                                                                    //
    0x62, 0x0f, 0x0a, 0x01, 'y',  0x12, 0x0a, 0x0a, 0x08, 0x08, 0x01, 0x12, 0x04, 0x0a,  // output
    0x02, 0x08, 0x01};

}  // namespace

void ProbeDevice(const std::shared_ptr<Environment>& environment, const std::string& device) {
  SessionOptions options;
  options.threads = 1;
  options.device = device;
  const Session session(environment, kProbeModel, "that tries \"" + device + "\"", options);
}

std::string ResolveDevice(const std::shared_ptr<Environment>& environment,
                          const std::string& device, std::string* why) {
  std::string reason = "as asked";
  std::string resolved = device;
  if (device == "auto") {
    try {
      ProbeDevice(environment, "cuda");
      resolved = "cuda";
      reason = "the CUDA provider works";
    } catch (const Error& error) {
      resolved = "cpu";
      reason = error.what();
    }
  } else if (device != "cpu" && device != "cuda") {
    throw Error(Code::InvalidArgument,
                "unknown device \"" + device + "\"; use \"auto\", \"cpu\" or \"cuda\"");
  }
  if (why) *why = reason;
  return resolved;
}

}  // namespace g4v::ort
