#include "decoder/cpu/packed_weights.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace g4v {
namespace {

using kernels::DType;
using kernels::kPanelRows;
using kernels::PackedMatrix;
using kernels::WeightKind;

constexpr float kMostWidth = 1 << 24;  // as in g4v.json

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

}  // namespace

PackedWeights::PackedWeights(TensorFile file, const DecoderSpec& spec) : file_(std::move(file)) {
  ReadMetadata();
  const int64_t width = spec.hidden_size;
  const int64_t q_width = int64_t{spec.heads} * spec.head_dim;
  const int64_t kv_width = int64_t{spec.kv_heads} * spec.head_dim;
  if (spec.head_dim % 16 != 0) {
    file_.Fail("is of a decoder with a head_dim of " + std::to_string(spec.head_dim) +
               ", and the CPU decoder has multiples of 16 alone");
  }
  for (int i = 0; i < spec.layers; ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".";
    PackedLayer layer;
    layer.attention_norm = Floats(prefix + "attention_norm", width);
    layer.q = Matrix(prefix + "q", q_width, width);
    layer.k = Matrix(prefix + "k", kv_width, width);
    layer.v = Matrix(prefix + "v", kv_width, width);
    layer.o = Matrix(prefix + "o", width, q_width);
    layer.mlp_norm = Floats(prefix + "mlp_norm", width);
    layer.gate = Matrix(prefix + "gate", mlp_width_, width);
    layer.up = Matrix(prefix + "up", mlp_width_, width);
    layer.down = Matrix(prefix + "down", width, mlp_width_);
    layers_.push_back(layer);
  }
  final_norm_ = Floats("final_norm", width);
  head_ = Matrix("head", spec.vocab_size, width);
  frequencies_ = Floats("rotary_frequencies", spec.head_dim / 2);
  if (taken_ != file_.tensors().size()) {
    file_.Fail("holds " + std::to_string(file_.tensors().size()) +
               " tensors where the decoder has " + std::to_string(taken_));
  }
}

void PackedWeights::ReadMetadata() {
  const auto& metadata = file_.metadata();
  const auto number = [&](const char* key) {
    const auto found = metadata.find(key);
    if (found == metadata.end()) file_.Fail("lacks " + std::string(key));
    float value = 0.0f;
    const char* const end = found->second.data() + found->second.size();
    const auto [stop, error] = std::from_chars(found->second.data(), end, value);
    if (error != std::errc() || stop != end || !std::isfinite(value) || value <= 0.0f) {
      file_.Fail("has the " + std::string(key) + " \"" + found->second +
                 "\", which is no number above 0");
    }
    return value;
  };
  const auto word = [&](const char* key, const std::string& expected) {
    const auto found = metadata.find(key);
    const std::string value = found == metadata.end() ? "" : found->second;
    if (value != expected) {
      file_.Fail("has the " + std::string(key) + " \"" + value + "\", and this version reads \"" +
                 expected + "\"");
    }
  };
  word("format", "g4v-packed-decoder");
  word("format_version", "1");
  norm_epsilon_ = number("norm_epsilon");
  rotary_factor_ = number("rotary_factor");
  const float mlp_width = number("intermediate_size");
  if (mlp_width != std::floor(mlp_width) || mlp_width > kMostWidth) {
    file_.Fail("has an intermediate_size that is no width");
  }
  mlp_width_ = static_cast<int64_t>(mlp_width);
  if (metadata.size() != 5) file_.Fail("has metadata that this version does not know");
}

const TensorFile::Tensor* PackedWeights::Find(const std::string& name) {
  const auto found = file_.tensors().find(name);
  if (found == file_.tensors().end()) return nullptr;
  ++taken_;
  return &found->second;
}

const TensorFile::Tensor& PackedWeights::Take(const std::string& name) {
  const TensorFile::Tensor* const tensor = Find(name);
  if (!tensor) file_.Fail("lacks the tensor " + name);
  return *tensor;
}

const float* PackedWeights::Floats(const std::string& name, int64_t count) {
  const TensorFile::Tensor& tensor = Take(name);
  if (tensor.dtype != "F32" || tensor.shape != std::vector<int64_t>{count}) {
    file_.Fail("has the tensor " + name + " as " + tensor.dtype + " " + ShapeText(tensor.shape) +
               ", expected F32 [" + std::to_string(count) + "]");
  }
  return reinterpret_cast<const float*>(tensor.data);
}

PackedMatrix PackedWeights::Matrix(const std::string& name, int64_t rows, int64_t columns) {
  const TensorFile::Tensor& weights = Take(name + ".weights");
  const auto refuse = [&](const TensorFile::Tensor& tensor, const std::string& part) {
    file_.Fail("has the tensor " + name + part + " as " + tensor.dtype + " " +
               ShapeText(tensor.shape) + ", which does not fit the decoder's sizes");
  };
  PackedMatrix matrix;
  matrix.weights = weights.data;
  matrix.columns = columns;
  const std::vector<int64_t>& shape = weights.shape;
  matrix.rows = rows;
  const int64_t panels = matrix.panels();
  std::vector<int64_t> expected;
  if (weights.dtype == "F32" || weights.dtype == "F16" || weights.dtype == "BF16") {
    matrix.kind = weights.dtype == "F32"   ? WeightKind::kFloat32
                  : weights.dtype == "F16" ? WeightKind::kFloat16
                                           : WeightKind::kBFloat16;
    expected = {panels, columns, kPanelRows};
  } else if (weights.dtype == "U8") {
    matrix.kind = WeightKind::kInt4;
    matrix.block = 32;
    expected = {panels, matrix.blocks(), 4, kPanelRows, 4};
  } else if (weights.dtype == "I8" && shape.size() == 5 && (shape[2] == 8 || shape[2] == 4)) {
    matrix.kind = WeightKind::kInt8;
    matrix.block = 4 * shape[2];
    expected = {panels, matrix.blocks(), shape[2], kPanelRows, 4};
  }
  // Of no known type: also where the tensor is a scalar, whose shape is as empty.
  if (expected.empty() || shape != expected) refuse(weights, ".weights");
  const auto scales = [&](const TensorFile::Tensor& tensor, const std::string& part) {
    const bool known = tensor.dtype == "F16" || tensor.dtype == "F32";
    if (!known || tensor.shape != std::vector<int64_t>{panels, matrix.blocks(), kPanelRows}) {
      refuse(tensor, part);
    }
    return reinterpret_cast<const char*>(tensor.data);
  };
  if (HasCodes(matrix.kind)) {
    const TensorFile::Tensor& found = Take(name + ".scales");
    matrix.scales = scales(found, ".scales");
    matrix.scale_dtype = found.dtype == "F16" ? DType::kFloat16 : DType::kFloat32;
    if (const TensorFile::Tensor* const minima = Find(name + ".minima")) {
      matrix.minima = scales(*minima, ".minima");
      if (minima->dtype != found.dtype || matrix.block != 32) refuse(*minima, ".minima");
    }
  }
  if (file_.tensors().contains(name + ".bias")) {
    matrix.bias = Floats(name + ".bias", matrix.rows);
  }
  return matrix;
}

}  // namespace g4v
