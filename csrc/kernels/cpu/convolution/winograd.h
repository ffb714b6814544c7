// Convolutions of 3x3 with stride 1 and a border of one zero, by Winograd's minimal filtering
// F(4x4, 3x3) (Lavin and Gray, 2016, "Fast algorithms for convolutional neural networks"), and of 3x1
// with a border above and below by F(4, 3):
//
//   out[b, o, y, x] = bias[o] + sum over c, i, j of weight[o, c, i, j] * in[b, c, y + i - 1, x + j - 1]
//
// A tile of 4x4 results is made of 6x6 values: Y = A' ((G w G') * (B' d B)) A, summed over c before
// the last step. That takes 36 multiplications of each pair of channels where the formula takes 144,
// and the weights take 4 times their memory. One column of it, of 3x1, takes 6 in place of 12, and
// twice the memory. float32 throughout; the transforms lose some bits: of normal
// numbers the norm of the error is about 3e-6 of that of the result, where the formula summed in
// float32 has 4e-7.
//
// Before it, where asked for, a GroupNorm and SiLU, computed as the values are read: what they give is
// never written to memory.
//
//   in = silu((x - mean) / sqrt(var + epsilon) * scale + shift),   silu(z) = z / (1 + exp(-z))
//
// mean and var are those of a group of channels of an image; var is divided by their number.
//
// In exported graphs the operators are named WinogradConv and NormSiluWinogradConv: those names are
// part of the bundle format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/cpu/dispatch.h"
#include "kernels/parallel.h"

namespace g4v::kernels {

// The transformed weights of a convolution, in the order in which the kernels of an instruction set
// read them.
class WinogradWeight {
 public:
  // weight: [out_channels, channels, 3, filter_width], filter_width 3 or 1; bias: [out_channels].
  // `isa` must be available. Throws std::bad_alloc.
  WinogradWeight(const float* weight, const float* bias, int64_t out_channels, int64_t channels,
                 int64_t filter_width, Parallel& parallel, Isa isa = ChosenIsa());

  int64_t channels() const { return channels_; }
  int64_t out_channels() const { return out_channels_; }
  int64_t filter_width() const { return filter_width_; }
  Isa isa() const { return isa_; }
  const float* data() const { return data_.get(); }
  const float* bias() const { return bias_; }

 private:
  struct Free {
    void operator()(float* memory) const;
  };
  int64_t out_channels_;
  int64_t channels_;
  int64_t filter_width_;
  Isa isa_;
  std::unique_ptr<float, Free> data_;
  const float* bias_;  // at the end of data_
};

struct GroupNormParams {
  int64_t groups = 0;            // a divisor of the channels
  float epsilon = 0.0f;          // above 0
  const float* scale = nullptr;  // [channels]
  const float* shift = nullptr;  // [channels]
};

struct ConvolutionParams {
  int64_t batch = 0;
  int64_t height = 0;
  int64_t width = 0;
  const float* x = nullptr;               // [batch, channels, height, width]
  float* out = nullptr;                   // [batch, out_channels, height, width]; not x
  const GroupNormParams* norm = nullptr;  // null: the values are taken as they are
};

// Bytes of scratch memory, aligned to 64, for so many threads.
size_t WinogradWorkspaceSize(const ConvolutionParams& params, const WinogradWeight& weight,
                             int threads);

// `workspace`: as many bytes as WinogradWorkspaceSize says for parallel.threads().
void WinogradConvolution(const ConvolutionParams& params, const WinogradWeight& weight,
                         void* workspace, Parallel& parallel);

}  // namespace g4v::kernels
