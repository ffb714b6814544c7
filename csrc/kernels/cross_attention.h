// The abstractor's attention: few queries, a short list of own keys, a long memory of keys.
//
// For every batch b, head h and query row i, with L = mem_len[b] (memory_rows where it is null):
//
//   s_j   = scale * <q_i, k_j>        j over the own keys, then over the memory keys 0 .. L - 1
//   m     = max_j s_j
//   out_i = sum_j exp(s_j - m) v_j / sum_j exp(s_j - m)
//
// A query without any key gives zeros. This is softmax(scale Q [K_own; K_mem]^T) [V_own; V_mem]
// with the two segments read where they lie: nothing is concatenated. Inputs and outputs have one
// dtype; products are accumulated in float32 (or wider) on every path.
//
// The structures are plain data: pointers, sizes and strides. The same ones go to the CPU kernels
// (kernels/cpu/attention) with host pointers and to the CUDA kernels (kernels/cuda) with device
// pointers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace g4v::kernels {

enum class DType : int32_t { kFloat32 = 0, kFloat16 = 1, kBFloat16 = 2 };

constexpr size_t SizeOf(DType type) { return type == DType::kFloat32 ? 4 : 2; }

// A tensor [batch, heads, rows, head_size] in memory. Strides count elements, not bytes, and may
// have any sign; the head_size elements of a row are adjacent.
template <class Pointer>
struct StridedRows {
  Pointer data = nullptr;
  int64_t batch = 0;
  int64_t head = 0;
  int64_t row = 0;
};
using ConstRows = StridedRows<const void*>;
using MutableRows = StridedRows<void*>;

struct CrossAttentionParams {
  DType dtype = DType::kFloat32;
  int64_t batch = 0;
  int64_t heads = 0;
  int64_t queries = 0;      // Nq
  int64_t own_rows = 0;     // Nq, or 0 where the queries have no keys of their own
  int64_t memory_rows = 0;  // N
  int64_t head_size = 0;    // D: 32, 64, 80, 96 or 128
  float scale = 1.0f;       // commonly 1 / sqrt(D)

  ConstRows q;                       // [B, H, Nq, D]
  ConstRows k_own, v_own;            // [B, H, own_rows, D]
  ConstRows k_mem, v_mem;            // [B, H, N, D]
  const int32_t* mem_len = nullptr;  // [B], each from 0 to N; null: all N rows count
  MutableRows out;                   // [B, H, Nq, D]; overlaps no input
};

constexpr int64_t kHeadSizes[] = {32, 64, 80, 96, 128};

// Null if the kernels can run these sizes and pointers; otherwise a sentence that says what is
// wrong.
const char* CheckCrossAttention(const CrossAttentionParams& params);

}  // namespace g4v::kernels
