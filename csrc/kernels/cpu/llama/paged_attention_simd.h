// paged_attention.h over the vector class `Simd`. Not guarded: paged_attention.cc includes it once
// for each instruction set (kernels/cpu/simd/targets.h).
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/cpu/llama/paged_attention.h"
#include "kernels/cpu/simd/portable.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

constexpr int kKeyVectors = static_cast<int>(kKeyTokens) / Simd::kLanes;
constexpr int kAtOnce = 4;  // queries that share the reading of keys and values
// The locality of __builtin_prefetch. Of requests for the first cache a core has too few under way
// to use the memory's bandwidth.
constexpr int kSecondCache = 2;
// Of keys; of values, of which a page takes half as long, twice as many.
constexpr int64_t kPagesAhead = 2;

template <KvType kType>
inline Simd::Vector LoadKv(const char* x) {
  if constexpr (kType == KvType::kInt8) return Simd::LoadInt8(x);
  return Simd::LoadAs(x, kType == KvType::kFloat16 ? DType::kFloat16 : DType::kFloat32);
}

// Coordinates of a key lie kKeyTokens apart.
template <class Value>
inline void StoreKey(const Value* key, int64_t count, char* to) {
  for (int64_t d = 0; d < count; ++d) {
    std::memcpy(to + d * kKeyTokens * static_cast<int64_t>(sizeof(Value)), key + d, sizeof(Value));
  }
}

inline void RoundToFloat16(const float* from, uint16_t (&to)[kKeyTokens]) {
  for (int v = 0; v < kKeyVectors; ++v) {
    Simd::StoreFloat16(to + v * Simd::kLanes, Simd::Load(from + v * Simd::kLanes));
  }
}

// The scale of codes in 8 bits; NaN where a value is not finite.
inline float CodeScale(const float* values, int64_t count) {
  constexpr float kLeast = 1e-30f;           // a larger scale has a reciprocal
  constexpr int32_t kInfinity = 0x7f800000;  // bits of NaN are above those of infinity
  int32_t bits = 0;
  for (int64_t d = 0; d < count; ++d) {
    bits = std::max(bits, std::bit_cast<int32_t>(std::fabs(values[d])));
  }
  if (bits >= kInfinity) return std::numeric_limits<float>::quiet_NaN();
  const float largest = std::bit_cast<float>(bits);
  return largest > kLeast ? largest / 127.0f : 0.0f;
}

inline void RoundToInt8(const float* from, float scale, int8_t (&to)[kKeyTokens]) {
  const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
  for (int64_t d = 0; d < kKeyTokens; ++d) {
    const float code = scale > 0.0f ? std::nearbyint(from[d] * inverse) : 0.0f;
    to[d] = static_cast<int8_t>(std::clamp(code, -127.0f, 127.0f));
  }
}

// Scales of the tokens of a page lie behind the codes.
inline const float* ScalesBehind(const char* codes, int64_t head_dim) {
  return reinterpret_cast<const float*>(codes + kPageTokens * head_dim);
}

void StoreToken(const PagedHead& head, int64_t token, const float* key, const float* value) {
  const int64_t bytes = KvBytes(head.type);
  const int64_t slot = token % kPageTokens;
  char* const page = const_cast<char*>(head.pages[token / kPageTokens]);
  char* const keys = page + head.keys +
                     (slot / kKeyTokens * kKeyTokens * head.head_dim + slot % kKeyTokens) * bytes;
  char* const values = page + head.values + slot * head.head_dim * bytes;
  if (head.type == KvType::kFloat32) {
    StoreKey(key, head.head_dim, keys);
    std::memcpy(values, value, static_cast<size_t>(head.head_dim) * sizeof(float));
    return;
  }
  if (head.type == KvType::kInt8) {
    const float scales[] = {CodeScale(key, head.head_dim), CodeScale(value, head.head_dim)};
    int8_t codes[kKeyTokens];
    for (int64_t d = 0; d < head.head_dim; d += kKeyTokens) {
      RoundToInt8(key + d, scales[0], codes);
      StoreKey(codes, kKeyTokens, keys + d * kKeyTokens);
      RoundToInt8(value + d, scales[1], codes);
      std::memcpy(values + d, codes, sizeof codes);
    }
    char* const parts[] = {page + head.keys, page + head.values};
    for (int i = 0; i < 2; ++i) {
      char* const behind = parts[i] + kPageTokens * head.head_dim;
      std::memcpy(behind + slot * static_cast<int64_t>(sizeof(float)), &scales[i], sizeof(float));
    }
    return;
  }
  uint16_t halves[kKeyTokens];
  for (int64_t d = 0; d < head.head_dim; d += kKeyTokens) {
    RoundToFloat16(key + d, halves);
    StoreKey(halves, kKeyTokens, keys + d * kKeyTokens * bytes);
    RoundToFloat16(value + d, halves);
    std::memcpy(values + d * bytes, halves, sizeof halves);
  }
}

// key_scales: of the block's tokens, where keys are codes.
template <KvType kType, int kQueries>
inline void ScoreBlock(const char* keys, const char* ahead, const float* key_scales,
                       const float* queries, int64_t head_dim, float scale, float* scores,
                       int64_t stride) {
  constexpr int64_t kBytes = KvBytes(kType);
  Simd::Vector sums[kQueries][kKeyVectors];
  for (int i = 0; i < kQueries; ++i) {
    for (int v = 0; v < kKeyVectors; ++v) sums[i][v] = Simd::Zero();
  }
  constexpr int64_t kLine = 64 / (kKeyTokens * kBytes);  // coordinates in a line of the cache
  for (int64_t d = 0; d < head_dim; d += kLine) {
    __builtin_prefetch(ahead + d * kKeyTokens * kBytes, 0, kSecondCache);
#pragma GCC unroll 4
    for (int64_t c = d; c < d + kLine; ++c) {
      Simd::Vector key[kKeyVectors];
      for (int v = 0; v < kKeyVectors; ++v) {
        key[v] = LoadKv<kType>(keys + (c * kKeyTokens + v * Simd::kLanes) * kBytes);
      }
      for (int i = 0; i < kQueries; ++i) {
        const auto q = Simd::Set(queries[i * head_dim + c]);
        for (int v = 0; v < kKeyVectors; ++v) sums[i][v] = Simd::MulAdd(q, key[v], sums[i][v]);
      }
    }
  }
  for (int v = 0; v < kKeyVectors; ++v) {
    auto factor = Simd::Set(scale);
    if constexpr (kType == KvType::kInt8) {
      factor = Simd::Mul(factor, Simd::Load(key_scales + v * Simd::kLanes));
    }
    for (int i = 0; i < kQueries; ++i) {
      Simd::Store(scores + i * stride + v * Simd::kLanes, Simd::Mul(sums[i][v], factor));
    }
  }
}

struct ScoreCall {
  const PagedHead& head;
  const float* queries;
  float scale;
  int64_t first;
  int64_t last;
  float* scores;
  int64_t stride;
};

template <KvType kType, int kQueries>
inline void ScorePages(const ScoreCall& call) {
  const int64_t head_dim = call.head.head_dim;
  const int64_t block_bytes = kKeyTokens * head_dim * KvBytes(kType);
  for (int64_t page = call.first; page < call.last; ++page) {
    const char* const all = call.head.pages[page] + call.head.keys;
    // Pages lie anywhere: the processor does not guess the next ones.
    const int64_t next = std::min(page + kPagesAhead, call.last - 1);
    const char* const ahead = call.head.pages[next] + call.head.keys;
    for (int64_t block = 0; block < kPageTokens / kKeyTokens; ++block) {
      ScoreBlock<kType, kQueries>(
          all + block * block_bytes, ahead + block * block_bytes,
          ScalesBehind(all, head_dim) + block * kKeyTokens, call.queries, head_dim, call.scale,
          call.scores + page * kPageTokens + block * kKeyTokens, call.stride);
    }
  }
}

template <KvType kType>
inline void Scores(ScoreCall call, int64_t count) {
  for (; count >= kAtOnce; count -= kAtOnce) {
    ScorePages<kType, kAtOnce>(call);
    call.queries += kAtOnce * call.head.head_dim;
    call.scores += kAtOnce * call.stride;
  }
  if (count == 3) ScorePages<kType, 3>(call);
  if (count == 2) ScorePages<kType, 2>(call);
  if (count == 1) ScorePages<kType, 1>(call);
}

void PagedScores(const PagedHead& head, const float* queries, int64_t count, float scale,
                 int64_t first, int64_t last, float* scores, int64_t stride) {
  constexpr float kLog2e = 1.44269504088896341f;
  const ScoreCall call{head, queries, scale * kLog2e, first, last, scores, stride};
  switch (head.type) {
    case KvType::kFloat32:
      return Scores<KvType::kFloat32>(call, count);
    case KvType::kFloat16:
      return Scores<KvType::kFloat16>(call, count);
    case KvType::kInt8:
      return Scores<KvType::kInt8>(call, count);
  }
}

void PagedSoftmax(float* scores, int64_t length, int64_t zeros) {
  const int64_t end = (length + kPageTokens - 1) / kPageTokens * kPageTokens;
  std::fill(scores + length, scores + end, scores[0]);  // changes no maximum
  auto most = Simd::Set(scores[0]);
  for (int64_t t = 0; t < end; t += Simd::kLanes) most = Simd::Max(Simd::Load(scores + t), most);
  float lanes[Simd::kLanes];
  Simd::Store(lanes, most);
  const auto largest = Simd::Set(*std::max_element(lanes, lanes + Simd::kLanes));
  for (int64_t t = 0; t < end; t += Simd::kLanes) {
    Simd::Store(scores + t, PortableExp2(Simd::Sub(Simd::Load(scores + t), largest)));
  }
  std::fill(scores + length, scores + zeros, 0.0f);
  // In 16 interleaved sums, and those in pairs, whatever the width of a vector.
  float sums[kKeyTokens];
  for (int v = 0; v < kKeyVectors; ++v) {
    auto sum = Simd::Zero();
    for (int64_t t = v * Simd::kLanes; t < end; t += kKeyTokens) {
      sum = Simd::Add(sum, Simd::Load(scores + t));
    }
    Simd::Store(sums + v * Simd::kLanes, sum);
  }
  for (int64_t half = kKeyTokens / 2; half > 0; half /= 2) {
    for (int64_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  const auto factor = Simd::Set(1.0f / sums[0]);
  for (int64_t t = 0; t < end; t += Simd::kLanes) {
    Simd::Store(scores + t, Simd::Mul(Simd::Load(scores + t), factor));
  }
}

struct ValueCall {
  const PagedHead& head;
  const float* weights;
  int64_t stride;
  int64_t length;
  int64_t first;
  int64_t last;
  float* out;
  int64_t out_stride;
};

// 16 coordinates at a time; sums stay in registers through a page.
template <KvType kType, int kQueries>
inline void AddPage(const ValueCall& call, int64_t page, int64_t d) {
  constexpr int64_t kBytes = KvBytes(kType);
  const int64_t row = call.head.head_dim * kBytes;
  const char* values = call.head.pages[page] + call.head.values + d * kBytes;
  const int64_t last = (call.length - 1) / kPageTokens;
  const char* const ahead =
      call.head.pages[std::min(page + 2 * kPagesAhead, last)] + call.head.values + d * kBytes;
  const int64_t tokens = std::min(kPageTokens, call.length - page * kPageTokens);
  const float* weights = call.weights + page * kPageTokens;
  int64_t stride = call.stride;
  float scaled[kType == KvType::kInt8 ? kQueries * kPageTokens : 1];
  if constexpr (kType == KvType::kInt8) {
    const float* const scales =
        ScalesBehind(call.head.pages[page] + call.head.values, call.head.head_dim);
    for (int i = 0; i < kQueries; ++i) {
      for (int64_t t = 0; t < kPageTokens; t += Simd::kLanes) {
        Simd::Store(scaled + i * kPageTokens + t,
                    Simd::Mul(Simd::Load(weights + i * stride + t), Simd::Load(scales + t)));
      }
    }
    weights = scaled;
    stride = kPageTokens;
  }
  Simd::Vector sums[kQueries][kKeyVectors];
  for (int i = 0; i < kQueries; ++i) {
    for (int v = 0; v < kKeyVectors; ++v) {
      float* const out = call.out + i * call.out_stride + d + v * Simd::kLanes;
      sums[i][v] = page == 0 ? Simd::Zero() : Simd::Load(out);
    }
  }
  for (int64_t t = 0; t < tokens; ++t) {
    __builtin_prefetch(ahead + t * row, 0, kSecondCache);
    Simd::Vector value[kKeyVectors];
    for (int v = 0; v < kKeyVectors; ++v) {
      value[v] = LoadKv<kType>(values + t * row + v * Simd::kLanes * kBytes);
    }
    for (int i = 0; i < kQueries; ++i) {
      const auto weight = Simd::Set(weights[i * stride + t]);
      for (int v = 0; v < kKeyVectors; ++v) {
        sums[i][v] = Simd::MulAdd(weight, value[v], sums[i][v]);
      }
    }
  }
  for (int i = 0; i < kQueries; ++i) {
    for (int v = 0; v < kKeyVectors; ++v) {
      Simd::Store(call.out + i * call.out_stride + d + v * Simd::kLanes, sums[i][v]);
    }
  }
}

template <KvType kType, int kQueries>
inline void AddPages(const ValueCall& call) {
  for (int64_t page = 0; page * kPageTokens < call.length; ++page) {
    for (int64_t d = call.first; d < call.last; d += kKeyTokens) {
      AddPage<kType, kQueries>(call, page, d);
    }
  }
}

template <KvType kType>
inline void Values(ValueCall call, int64_t count) {
  for (; count >= kAtOnce; count -= kAtOnce) {
    AddPages<kType, kAtOnce>(call);
    call.weights += kAtOnce * call.stride;
    call.out += kAtOnce * call.out_stride;
  }
  if (count == 3) AddPages<kType, 3>(call);
  if (count == 2) AddPages<kType, 2>(call);
  if (count == 1) AddPages<kType, 1>(call);
}

void PagedValues(const PagedHead& head, const float* weights, int64_t count, int64_t stride,
                 int64_t length, int64_t first, int64_t last, float* out, int64_t out_stride) {
  const ValueCall call{head, weights, stride, length, first, last, out, out_stride};
  switch (head.type) {
    case KvType::kFloat32:
      return Values<KvType::kFloat32>(call, count);
    case KvType::kFloat16:
      return Values<KvType::kFloat16>(call, count);
    case KvType::kInt8:
      return Values<KvType::kInt8>(call, count);
  }
}

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
