#include "ort/device_copy.h"

#include <array>

namespace g4v::ort {
namespace {

// y = Identity(x), float32 [n].
//   ir_version 8, opset 13
//   graph "c" { node Identity(x) -> y; input x: float[n]; output y: float[n] }
constexpr std::array<char, 67> kModel = {
    0x08, 0x08, 0x3a, '9',                                                               // model
    0x0a, 0x10, 0x0a, 0x01, 'x',  0x12, 0x01, 'y',                                       // node
    0x22, 0x08, 'I',  'd',  'e',  'n',  't',  'i',  't',  'y',                           //
    0x12, 0x01, 'c',                                                                     // name
    'Z',  0x10, 0x0a, 0x01, 'x',  0x12, 0x0b, 0x0a, 0x09, 0x08, 0x01, 0x12, 0x05, 0x0a,  // input
    0x03, 0x12, 0x01, 'n',                                                               //
    'b',  0x10, 0x0a, 0x01, 'y',  0x12, 0x0b, 0x0a, 0x09, 0x08, 0x01, 0x12, 0x05, 0x0a,  // output
    0x03, 0x12, 0x01, 'n',                                                               //
    'B',  0x04, 0x0a, 0x00, 0x10, 0x0d};                                                 // opset

}  // namespace

DeviceCopy::DeviceCopy(std::shared_ptr<Environment> environment, const SessionOptions& options)
    : session_(std::move(environment), kModel, "that copies to \"" + options.device + "\"",
               options) {}

std::unique_ptr<DeviceTensor> DeviceCopy::Allocate(std::vector<int64_t> shape) {
  return session_.Allocate(DType::F32, std::move(shape));
}

void DeviceCopy::Upload(const float* from, DeviceTensor& to, int64_t first, int64_t count) {
  const auto part = to.Part(first, {count});
  const NamedTensor in{"x", View(from, {count})};
  const NamedTensor out{"y", part->view()};
  session_.Run({&in, 1}, {&out, 1});
}

void DeviceCopy::Download(const DeviceTensor& from, float* to, int64_t count) {
  const auto part = from.Part(0, {count});
  const NamedTensor in{"x", part->view()};
  const NamedTensor out{"y", View(to, {count})};
  session_.Run({&in, 1}, {&out, 1});
}

}  // namespace g4v::ort
