// The kernels of csrc/kernels/cuda on the CPU, and problems to try them on.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/cross_attention.h"
#include "kernels/cuda/plan.h"

namespace g4v::cuda_host {

enum class Executor { kFibers, kThreads };

// Runs the kernels that `plan` names, attention then merge.
void RunPlan(const kernels::CrossAttentionParams& params, const kernels::cuda::Plan& plan,
             void* workspace, Executor executor, uint64_t seed);

struct Shape {
  kernels::DType dtype = kernels::DType::kBFloat16;
  int64_t batch = 1, heads = 1, queries = 1, own_rows = 0, memory_rows = 0, head_size = 64;
};

// How the inputs look.
enum class Values {
  kNormal,       // scores of a few units
  kLargeLogits,  // scores up to some hundreds: one key takes nearly everything
  kOneHot,       // one key equals the query, times a large factor; the others are orthogonal to it
  kEqual,        // all keys the same: the mean of the values
  kGrowing,      // every key beats those before it: each tile shrinks all earlier ones
};

// A problem whose tensors lie in guarded buffers. All layers' keys and values come out of one
// matrix product in practice, so rows are interleaved with others' where `interleaved` is set;
// bytes that belong to nobody are NaNs.
class Problem {
 public:
  Problem(const Shape& shape, Values values, uint64_t seed, bool interleaved = false,
          int64_t misaligned_by = 0);

  kernels::CrossAttentionParams params;
  std::vector<int32_t> mem_len;  // params.mem_len points here once UseLengths is called
  void UseLengths(std::vector<int32_t> lengths);

  void PoisonMemoryRow(int64_t batch, int64_t head, int64_t row);  // key and value to NaN

  // With float64 arithmetic from the same 16-bit inputs: [B, H, Nq, D].
  std::vector<double> Reference() const;
  // The same with scores and weights rounded to the inputs' type, as an attention made of two
  // matrix products and a softmax in that type has them.
  std::vector<double> Plain16() const;
  std::vector<double> Output() const;
  void ClearOutput();  // to NaN
  // True where the bytes around every tensor, between rows and behind the end, are untouched.
  bool GuardsAreWhole() const;

 private:
  struct Buffer {
    std::vector<unsigned char> bytes;
    size_t offset = 0;  // of the tensor's first element
    int64_t rows = 0;
    int64_t batch = 0, head = 0, row = 0;  // strides, elements
  };
  Buffer Make(int64_t rows, bool interleaved, int64_t misaligned_by) const;
  double Get(const Buffer& buffer, int64_t b, int64_t h, int64_t r, int64_t d) const;
  void Set(Buffer& buffer, int64_t b, int64_t h, int64_t r, int64_t d, double value) const;
  std::vector<double> Attend(bool plain16) const;

  Shape shape_;
  Buffer q_, k_own_, v_own_, k_mem_, v_mem_, out_;
};

// Rounds to the type as the kernels do.
double Rounded(kernels::DType dtype, double value);

}  // namespace g4v::cuda_host
