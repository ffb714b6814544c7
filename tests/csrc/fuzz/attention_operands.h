// Operands of the attention in buffers of exactly their size.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/float16.h"

namespace g4v::fuzz {

using namespace g4v::kernels;

class OneThread final : public Parallel {
 public:
  explicit OneThread(int threads) : threads_(threads) {}
  int threads() const override { return threads_; }
  void Run(int64_t count, Task task, void* context) override {
    for (int64_t i = count - 1; i >= 0; --i) task(context, i);  // in any order
  }

 private:
  int threads_;
};

struct Tensor {
  std::vector<char> bytes;
  StridedRows<void*> rows;
};

// [batch, heads, rows, head_size] with a gap behind each row; heads before rows, or rows before
// heads.
inline Tensor Make(const CrossAttentionParams& p, int64_t rows, int64_t gap, bool heads_first,
                   uint32_t* random) {
  const int64_t row = p.head_size + gap;
  Tensor tensor;
  tensor.rows.row = heads_first ? row : row * p.heads;
  tensor.rows.head = heads_first ? row * rows : row;
  tensor.rows.batch = row * rows * p.heads;
  const int64_t count =
      std::max<int64_t>(p.batch * tensor.rows.batch - gap, 0);  // the last row has no gap
  tensor.bytes.resize(static_cast<size_t>(count) * SizeOf(p.dtype));
  for (int64_t i = 0; random && i < count; ++i) {
    *random = *random * 1664525 + 1013904223;
    const float value = static_cast<float>(static_cast<int32_t>(*random)) / 2e9f;
    uint32_t bits = 0;
    std::memcpy(&bits, &value, 4);
    if (p.dtype == DType::kFloat32) {
      std::memcpy(&tensor.bytes[static_cast<size_t>(4 * i)], &bits, 4);
    } else {
      const auto half = static_cast<uint16_t>(
          p.dtype == DType::kBFloat16 ? bits >> 16 : 0x3000 | (bits >> 8 & 0x83FF));
      std::memcpy(&tensor.bytes[static_cast<size_t>(2 * i)], &half, 2);
    }
  }
  tensor.rows.data = tensor.bytes.data();
  return tensor;
}

inline ConstRows Const(const Tensor& t) {
  return {t.rows.data, t.rows.batch, t.rows.head, t.rows.row};
}

inline float ValueOf(const Tensor& t, DType dtype, size_t i) {
  if (dtype == DType::kFloat32) return reinterpret_cast<const float*>(t.bytes.data())[i];
  const uint16_t half = reinterpret_cast<const uint16_t*>(t.bytes.data())[i];
  return dtype == DType::kFloat16 ? Float16ToFloat(half) : BFloat16ToFloat(half);
}

}  // namespace g4v::fuzz
