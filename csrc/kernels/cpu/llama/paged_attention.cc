// The kernels, compiled for each instruction set, and the choice among them.
#include "kernels/cpu/llama/paged_attention.h"

#include <cstring>

#include "kernels/cpu/float16.h"

#define G4V_KERNEL_FILE "kernels/cpu/llama/paged_attention_simd.h"
#include "kernels/cpu/simd/for_plain_target.h"
#define G4V_KERNEL_FILE "kernels/cpu/llama/paged_attention_simd.h"
#include "kernels/cpu/simd/for_neon_target.h"
#define G4V_KERNEL_FILE "kernels/cpu/llama/paged_attention_simd.h"
#include "kernels/cpu/simd/for_each_target.h"

namespace g4v::kernels {
namespace {

void Put(char* to, int64_t index, DType dtype, float value) {
  if (dtype == DType::kFloat16) {
    const uint16_t half = FloatToFloat16(value);
    std::memcpy(to + index * 2, &half, sizeof half);
  } else {
    std::memcpy(to + index * 4, &value, sizeof value);
  }
}

}  // namespace

void StoreToken(const PagedHead& head, int64_t token, const float* key, const float* value) {
  char* const page = const_cast<char*>(head.pages[token / kPageTokens]);
  const int64_t slot = token % kPageTokens;
  const int64_t block = slot / kKeyTokens * kKeyTokens * head.head_dim;
  for (int64_t d = 0; d < head.head_dim; ++d) {
    Put(page + head.keys, block + d * kKeyTokens + slot % kKeyTokens, head.dtype, key[d]);
    Put(page + head.values, slot * head.head_dim + d, head.dtype, value[d]);
  }
}

void PagedScores(const PagedHead& head, const float* queries, int64_t count, float scale,
                 int64_t first, int64_t last, float* scores, int64_t stride, Isa isa) {
  G4V_DISPATCH_PORTABLE(isa, PagedScores)(head, queries, count, scale, first, last, scores, stride);
}

void PagedSoftmax(float* scores, int64_t length, int64_t end, Isa isa) {
  G4V_DISPATCH_PORTABLE(isa, PagedSoftmax)(scores, length, end);
}

void PagedValues(const PagedHead& head, const float* weights, int64_t count, int64_t stride,
                 int64_t length, int64_t first, int64_t last, float* out, int64_t out_stride,
                 Isa isa) {
  G4V_DISPATCH_PORTABLE(isa, PagedValues)
  (head, weights, count, stride, length, first, last, out, out_stride);
}

}  // namespace g4v::kernels
