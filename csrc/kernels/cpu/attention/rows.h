// Addresses of rows in the strided operands, for all CPU kernels.
#pragma once

#include "kernels/cross_attention.h"

namespace g4v::kernels {

inline const char* Row(const ConstRows& rows, DType dtype, int64_t b, int64_t h, int64_t row) {
  const int64_t offset = b * rows.batch + h * rows.head + row * rows.row;
  return static_cast<const char*>(rows.data) + offset * static_cast<int64_t>(SizeOf(dtype));
}

inline char* Row(const MutableRows& rows, DType dtype, int64_t b, int64_t h, int64_t row) {
  const int64_t offset = b * rows.batch + h * rows.head + row * rows.row;
  return static_cast<char*>(rows.data) + offset * static_cast<int64_t>(SizeOf(dtype));
}

// How many memory rows of batch b count: mem_len[b], clamped to 0 .. memory_rows.
inline int64_t MemoryLength(const CrossAttentionParams& p, int64_t b) {
  if (!p.mem_len) return p.memory_rows;
  const int64_t length = p.mem_len[b];
  return length < 0 ? 0 : (length > p.memory_rows ? p.memory_rows : length);
}

// Row `key` of the own keys followed by the memory keys. They are never concatenated in memory.
inline const char* KeyRow(const CrossAttentionParams& p, int64_t b, int64_t h, int64_t key) {
  return key < p.own_rows ? Row(p.k_own, p.dtype, b, h, key)
                          : Row(p.k_mem, p.dtype, b, h, key - p.own_rows);
}

inline const char* ValueRow(const CrossAttentionParams& p, int64_t b, int64_t h, int64_t key) {
  return key < p.own_rows ? Row(p.v_own, p.dtype, b, h, key)
                          : Row(p.v_mem, p.dtype, b, h, key - p.own_rows);
}

}  // namespace g4v::kernels
