// Files of packed weights (bundle/tensor_file.h, decoder/cpu/packed_weights.h). The input is the
// JSON of the header and is mutated as such; where the tensors lie follows from their types and
// shapes, so that these decide. What the decoder reads of an accepted file is each byte of its data
// once: no matrix is larger than its tensor.
#include <tuple>

#include "decoder/cpu/packed_weights.h"
#include "fuzz.h"
#include "mutate.h"
#include "tensor_header.h"

using namespace g4v;
using fuzz::Require;
using kernels::PackedMatrix;
using kernels::WeightKind;

namespace {

int64_t touched;  // bytes

void Touch(const void* data, int64_t bytes) {
  Require(data != nullptr && bytes > 0, "weights are there");
  touched += bytes;
}

void Touch(const PackedMatrix& m, int64_t rows, int64_t columns) {
  Require(m.rows == rows && m.columns == columns, "a matrix has the decoder's sizes");
  const int64_t values = (rows + 15) / 16 * 16 * columns;
  const int64_t padded = (rows + 15) / 16 * 16 * m.blocks() * m.block;
  switch (m.kind) {
    case WeightKind::kFloat32:
      Require(reinterpret_cast<uintptr_t>(m.weights) % 4 == 0, "floats are aligned");
      Touch(m.weights, 4 * values);
      break;
    case WeightKind::kFloat16:
    case WeightKind::kBFloat16:
      Touch(m.weights, 2 * values);
      break;
    case WeightKind::kInt8:
      Touch(m.weights, padded);
      break;
    case WeightKind::kInt4:
      Touch(m.weights, padded / 2);
  }
  const int64_t scales =
      (rows + 15) / 16 * 16 * m.blocks() * static_cast<int64_t>(kernels::SizeOf(m.scale_dtype));
  if (kernels::HasCodes(m.kind)) Touch(m.scales, scales);
  if (m.minima) Touch(m.minima, scales);
  if (m.bias) Touch(m.bias, 4 * rows);
}

DecoderSpec Spec() {
  DecoderSpec spec;
  spec.vocab_size = 20;
  spec.hidden_size = 32;
  spec.layers = 1;
  spec.heads = 2;
  spec.kv_heads = 1;
  spec.head_dim = 16;
  spec.context_length = 64;
  return spec;
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  return fuzz::ChangeJson(data, size, most, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string header(reinterpret_cast<const char*>(data), size);
  int64_t bytes = 0;
  fuzz::Accepts({Code::Bundle},
                [&] { std::tie(header, bytes) = fuzz::LaidOut(ParseJson(header)); });
  header.resize((header.size() + 63) / 64 * 64, ' ');
  const uint64_t length = header.size();
  const std::string file = std::string(reinterpret_cast<const char*>(&length), 8) + header +
                           std::string(static_cast<size_t>(bytes), '\1');
  const fuzz::MemoryFile memory(file);
  const DecoderSpec spec = Spec();
  touched = 0;
  fuzz::Accepts({Code::Bundle}, [&] {
    const PackedWeights weights(
        TensorFile(MappedFile(memory.path(), MappedFile::How::Read), "file"), spec);
    const int64_t width = spec.hidden_size, mlp = weights.mlp_width();
    for (const PackedLayer& layer : weights.layers()) {
      Touch(layer.attention_norm, 4 * width);
      Touch(layer.mlp_norm, 4 * width);
      Touch(layer.q, 32, width);
      Touch(layer.k, 16, width);
      Touch(layer.v, 16, width);
      Touch(layer.o, width, 32);
      Touch(layer.gate, mlp, width);
      Touch(layer.up, mlp, width);
      Touch(layer.down, width, mlp);
    }
    Touch(weights.final_norm(), 4 * width);
    Touch(weights.head(), spec.vocab_size, width);
    Touch(weights.rotary_frequencies(), 4 * spec.head_dim / 2);
    Require(touched == bytes, "the matrices are the data: " + std::to_string(touched) +
                                  " bytes of " + std::to_string(bytes));
  });
  return 0;
}
