// g4v's operators (ort/custom_ops.h) with attributes and shapes of any size, as a hostile graph may
// have them. Each call is refused in one line, or it reads and writes what is there; what
// CrossAttention and the convolutions give is the formula's.
#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "fake_session.h"
#include "fuzz.h"
#include "ort/custom_ops.h"
#include "plain_attention.h"

using namespace g4v;
using fuzz::FakeSession;
using fuzz::Require;

namespace {

constexpr int64_t kMostElements = 1 << 14;

// Often a number that fits, else one at an edge or any.
int64_t Number(fuzz::Input& input, int64_t usual) {
  const uint8_t kind = input.Take<uint8_t>();
  if (kind < 200) return usual;
  if (kind < 230) return input.From(0, 255);
  const int64_t edges[] = {
      -1, 0, 1, INT64_MAX, INT64_MIN, INT32_MAX, int64_t{1} << 32, int64_t{1} << 40};
  return kind < 250 ? edges[kind % 8] : input.Take<int64_t>();
}

// Nothing where ONNX Runtime could have no such tensor.
std::optional<OrtValue> Tensor(fuzz::Input& input, std::vector<int64_t> usual) {
  OrtValue value{std::move(usual), {}};
  for (int64_t& size : value.shape) size = Number(input, size);
  if (input.Take<uint8_t>() > 250) value.shape.pop_back();
  int64_t count = 1;
  bool empty = false, fits = true;
  for (const int64_t size : value.shape) {
    if (size < 0) return std::nullopt;
    empty = empty || size == 0;
    if (!empty && fits) fits = size <= kMostElements && (count *= size) <= kMostElements;
  }
  if (!empty && !fits) return std::nullopt;
  value.data.resize(empty ? 0 : static_cast<size_t>(count));
  auto random = input.Take<uint32_t>();
  for (float& one : value.data) {
    random = random * 1664525 + 1013904223;
    one = static_cast<float>(static_cast<int32_t>(random)) / 2e9f;
  }
  return value;
}

// The largest error of WinogradConv(x, weight, bias), over the largest value.
double ConvolutionError(const OrtKernelContext& context) {
  const OrtValue& x = context.inputs[0];
  const OrtValue& weight = context.inputs[1];
  const OrtValue& out = context.outputs.at(0);
  const int64_t channels = x.shape[1], height = x.shape[2], width = x.shape[3];
  const int64_t filter = weight.shape[3], taps = 3 * filter;
  double error = 0.0, largest = 1e-3;
  for (size_t i = 0; i < out.data.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    const int64_t column = at % width, row = at / width % height;
    const int64_t o = at / width / height % weight.shape[0];
    const int64_t image = at / width / height / weight.shape[0];
    double sum = context.inputs[2].data[static_cast<size_t>(o)];
    for (int64_t k = 0; k < channels * taps; ++k) {
      const int64_t in_row = row + k % taps / filter - 1,
                    in_column = column + k % filter - filter / 2;
      if (in_row < 0 || in_row >= height || in_column < 0 || in_column >= width) continue;
      const int64_t from = ((image * channels + k / taps) * height + in_row) * width + in_column;
      sum += double{weight.data[static_cast<size_t>(o * channels * taps + k)]} *
             x.data[static_cast<size_t>(from)];
    }
    error = std::max(error, std::abs(out.data[i] - sum));
    largest = std::max(largest, std::abs(sum));
  }
  return error / largest;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const ort::abi::Api api(FakeSession::Table());
  static const bool added = ort::AddCustomOps(api, nullptr, false) == nullptr;
  Require(added, "the operators can be added");
  fuzz::Input input(data, size);
  const std::vector<std::string> names = {"CrossAttention", "SkipNorm", "GatedNorm", "WinogradConv",
                                          "NormSiluWinogradConv"};
  const std::string name = names[static_cast<size_t>(input.From(0, 4))];
  const int64_t batch = input.From(1, 2), rows = input.From(1, 6), heads = input.From(1, 2),
                memory = input.From(1, 20);
  const int64_t width = 32 * heads;
  OrtKernelInfo info;
  info.integers = {{"num_heads", Number(input, heads)},
                   {"key_column", Number(input, 0)},
                   {"value_column", Number(input, width)}};
  if (input.Take<uint8_t>() > 240) info.epsilon = input.Take<float>();
  std::vector<std::vector<int64_t>> shapes = {{batch, rows, 3 * width}, {batch, memory, 2 * width}};
  if (name == "SkipNorm")
    shapes = {{batch, rows, width}, {batch, rows, width}, {width}, {width}, {width}};
  if (name == "GatedNorm") shapes = {{batch, rows, 2 * width}, {width}, {width}, {2 * width}};
  const int64_t filter = input.From(0, 1) ? 3 : 1;
  if (name == "WinogradConv")
    shapes = {{batch, rows, memory, heads}, {heads, rows, 3, filter}, {heads}};
  if (name == "NormSiluWinogradConv")
    shapes = {{batch, 2 * rows, memory, heads},
              {2 * rows},
              {2 * rows},
              {heads, 2 * rows, 3, filter},
              {heads}};
  info.integers["num_groups"] = Number(input, heads);
  OrtKernelContext context;
  for (const std::vector<int64_t>& shape : shapes) {
    std::optional<OrtValue> value = Tensor(input, shape);
    if (!value) return 0;
    context.inputs.push_back(std::move(*value));
  }
  // Weight and bias of a convolution are constants.
  for (size_t i = shapes.size() - 2; name.ends_with("WinogradConv") && i < shapes.size(); ++i) {
    if (input.Take<uint8_t>() < 250) info.constants[i] = context.inputs[i];
  }
  if (!FakeSession::Operators().contains(name)) return 0;  // a processor without vectors
  const ort::abi::CustomOp* const op = FakeSession::Operators().at(name);
  void* kernel = nullptr;
  OrtStatus* status = op->CreateKernelV2(op, FakeSession::Table(), &info, &kernel);
  if (!status) status = op->KernelComputeV2(kernel, &context);
  if (kernel) op->KernelDestroy(kernel);
  if (status) {
    Require(status->message.starts_with("g4v." + name + ": ") &&
                status->message.find('\n') == std::string::npos,
            "a refusal names the operator: " + status->message);
    delete status;
    return 0;
  }
  if (name == "CrossAttention")
    Require(fuzz::Difference(info, context) < 1e-4, "the attention is the formula's");
  if (name == "WinogradConv" && context.outputs.contains(0))
    Require(ConvolutionError(context) < 1e-4, "the convolution is the formula's");
  for (const auto& [index, value] : context.outputs) {
    for (const float one : value.data)
      Require(std::isfinite(one), "finite inputs give finite outputs");
  }
  return 0;
}
