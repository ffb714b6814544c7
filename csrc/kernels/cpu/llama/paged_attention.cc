// The kernels, compiled for each instruction set, and the choice among them.
#include "kernels/cpu/llama/paged_attention.h"

#define G4V_KERNEL_FILE "kernels/cpu/llama/paged_attention_simd.h"
#include "kernels/cpu/simd/for_plain_target.h"
#define G4V_KERNEL_FILE "kernels/cpu/llama/paged_attention_simd.h"
#include "kernels/cpu/simd/for_neon_target.h"
#define G4V_KERNEL_FILE "kernels/cpu/llama/paged_attention_simd.h"
#include "kernels/cpu/simd/for_each_target.h"

namespace g4v::kernels {

void StoreToken(const PagedHead& head, int64_t token, const float* key, const float* value,
                Isa isa) {
  G4V_DISPATCH_PORTABLE(isa, StoreToken)(head, token, key, value);
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
