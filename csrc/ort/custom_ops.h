// The operators that g4v's graphs have beyond those of ONNX Runtime, in the domain "g4v".
//
//   CrossAttention(queries, memory) -> out
//     queries  float [B, Q, 3*W]   queries, own keys and own values side by side
//     memory   float [B, N, C]     keys and values of all layers side by side
//     out      float [B, Q, W]
//     num_heads     H; W / H is the size of a head: 32, 64, 80, 96 or 128
//     key_column    first of the W columns of memory that are this layer's keys
//     value_column  likewise for its values
//   kernels/cross_attention.h has the formula; the scale is 1 / sqrt(W / H). Everything is read
//   where it lies: no Split before, no Concat of own and memory keys.
//
//   SkipNorm(x, skip, scale, shift, bias) -> norm, sum
//     x, skip, norm, sum  float [B, Q, W];  scale, shift, bias  float [W];  epsilon
//   GatedNorm(x, scale, shift, bias) -> norm
//     x  float [B, Q, 2*W], gates first;  scale, shift  float [W];  bias  float [2*W];
//     norm  float [B, Q, W];  epsilon
//   kernels/cpu/norm/norms.h has their formulas. On the CPU only.
//
//   MatMul(x, weight) -> out
//     x  float [..., K];  weight  float [K, N], a constant;  out  float [..., N]
//     pieces  2 or 3, of bfloat16 that a value is taken as: kernels/cpu/gemm/gemm_amx.h
//   Only on processors that have its tiles. Elsewhere the operator is not known, and ONNX Runtime's
//   own MatMul stands in its place: graphs with it carry a function of its name that says so.
//
//   WinogradConv(x, weight, bias) -> out
//     x  float [B, C, H, W];  weight  float [O, C, 3, 3] or [O, C, 3, 1] and bias  float [O],
//     constants;  out  float [B, O, H, W]: the convolution with stride 1 and a border of one zero, of
//     3x1 above and below alone
//   NormSiluWinogradConv(x, scale, shift, weight, bias) -> out
//     scale, shift  float [C];  num_groups;  epsilon: the same of silu(GroupNorm(x))
//   kernels/cpu/convolution/winograd.h has their formulas. Only on processors with AVX2 or AVX-512;
//   elsewhere ONNX Runtime's operators stand in their place, as above.
#pragma once

#include "ort/abi.h"

namespace g4v::ort {

// Makes the operators known to sessions that are made with these options. cuda: also for the CUDA
// provider; only then are the CUDA kernels looked for, which starts the driver. Returns a status of
// the library, null on success. Safe to call for any number of sessions, from any thread.
OrtStatus* AddCustomOps(const abi::Api& api, OrtSessionOptions* options, bool cuda);

}  // namespace g4v::ort
