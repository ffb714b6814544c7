// Attention of a decoder over keys and values in pages: softmax(scale q K^T) V, causal.
//
// A page holds kPageTokens tokens. Of one layer and one head of keys and values it has
//
//   keys    [token / 16][head_dim][16]   16 neighbouring tokens side by side, so that a vector
//                                        takes one coordinate of several keys
//   values  [token][head_dim]
//
// of float16, float32, or codes of 8 bits, behind which their scales lie: float32 [token] behind the
// keys, and behind the values. A code stands for scale * code, with the scale that gives the largest
// magnitude of a token's key, or value, the code 127.
//
// Sums run over coordinates and over tokens in their order, so that a result
// depends on the query and the tokens before it alone: not on how many queries are computed at
// once, on the threads, or on the instruction set.
#pragma once

#include <cstdint>

#include "kernels/cpu/dispatch.h"

namespace g4v::kernels {

constexpr int64_t kPageTokens = 32;
constexpr int64_t kKeyTokens = 16;  // tokens of keys side by side

enum class KvType { kFloat32, kFloat16, kInt8 };

constexpr int64_t KvBytes(KvType type) {
  return type == KvType::kFloat32 ? 4 : type == KvType::kFloat16 ? 2 : 1;
}

// Bytes of the keys, or of the values, of one layer and head in a page.
constexpr int64_t PagePartBytes(KvType type, int64_t head_dim) {
  const int64_t scale = type == KvType::kInt8 ? sizeof(float) : 0;
  return kPageTokens * (head_dim * KvBytes(type) + scale);
}

// What one head of one layer has of a conversation. Plain data.
struct PagedHead {
  const char* const* pages = nullptr;  // of the conversation
  int64_t keys = 0;                    // bytes from the start of a page
  int64_t values = 0;
  int64_t head_dim = 0;  // a multiple of 16
  KvType type = KvType::kFloat16;
};

// Stores key and value [head_dim] of `token`, rounded to the pages' type.
void StoreToken(const PagedHead& head, int64_t token, const float* key, const float* value,
                Isa isa = ChosenIsa());

// scores[i * stride + t] = log2(e) * scale * <q_i, k_t> for the tokens t of the pages first ...
// last - 1. queries [count, head_dim].
void PagedScores(const PagedHead& head, const float* queries, int64_t count, float scale,
                 int64_t first, int64_t last, float* scores, int64_t stride, Isa isa = ChosenIsa());

// Turns scores [length], which are in units of log2(e), into weights that add up to one; those
// from `length` up to `end`, which is a multiple of kPageTokens and not smaller, become zero.
void PagedSoftmax(float* scores, int64_t length, int64_t end, Isa isa = ChosenIsa());

// out[i * out_stride + d] = sum of weights[i * stride + t] * v_t[d] over the tokens t < length, for
// first <= d < last, multiples of 16.
void PagedValues(const PagedHead& head, const float* weights, int64_t count, int64_t stride,
                 int64_t length, int64_t first, int64_t last, float* out, int64_t out_stride,
                 Isa isa = ChosenIsa());

}  // namespace g4v::kernels
