// The weights of a LLaMA decoder as the CPU decoder computes with them; the writer is
// export/components/packed_decoder.py.
#pragma once

#include <string>
#include <vector>

#include "bundle/manifest.h"
#include "bundle/tensor_file.h"
#include "kernels/cpu/linear/packed_matrix.h"

namespace g4v {

struct PackedLayer {
  const float* attention_norm = nullptr;  // [hidden_size]
  kernels::PackedMatrix q, k, v, o;
  const float* mlp_norm = nullptr;  // [hidden_size]
  kernels::PackedMatrix gate, up, down;
};

class PackedWeights {
 public:
  // Reads the file, which stays mapped: nothing of it is copied. Throws Error(Bundle) where it does
  // not fit `spec`: a tensor that is missing, left over, or of another type or shape.
  PackedWeights(TensorFile file, const DecoderSpec& spec);
  PackedWeights(const PackedWeights&) = delete;
  PackedWeights& operator=(const PackedWeights&) = delete;

  const std::vector<PackedLayer>& layers() const { return layers_; }
  const float* final_norm() const { return final_norm_; }  // [hidden_size]
  const kernels::PackedMatrix& head() const { return head_; }
  int64_t mlp_width() const { return mlp_width_; }
  const float* rotary_frequencies() const { return frequencies_; }  // [head_dim / 2]
  float rotary_factor() const { return rotary_factor_; }
  float norm_epsilon() const { return norm_epsilon_; }

 private:
  void ReadMetadata();
  kernels::PackedMatrix Matrix(const std::string& name, int64_t rows, int64_t columns);
  const float* Floats(const std::string& name, int64_t count);
  const TensorFile::Tensor& Take(const std::string& name);
  const TensorFile::Tensor* Find(const std::string& name);

  TensorFile file_;
  size_t taken_ = 0;
  std::vector<PackedLayer> layers_;
  const float* final_norm_ = nullptr;
  kernels::PackedMatrix head_;
  int64_t mlp_width_ = 0;
  const float* frequencies_ = nullptr;
  float rotary_factor_ = 1.0f;
  float norm_epsilon_ = 0.0f;
};

}  // namespace g4v
