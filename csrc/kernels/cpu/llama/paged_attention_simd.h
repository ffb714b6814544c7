// paged_attention.h over the vector class `Simd`. Not guarded: paged_attention.cc includes it once
// for each instruction set (kernels/cpu/simd/targets.h).
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/llama/paged_attention.h"
#include "kernels/cpu/simd/portable.h"

G4V_BEGIN_TARGET
namespace g4v::kernels::G4V_TARGET {

constexpr int kKeyVectors = static_cast<int>(kKeyTokens) / Simd::kLanes;
constexpr int kAtOnce = 4;  // queries that share the reading of keys and values
// The locality of __builtin_prefetch. Of requests for the first cache a core has too few under way
// to use the memory's bandwidth.
constexpr int kSecondCache = 2;

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

void StoreToken(const PagedHead& head, int64_t token, const float* key, const float* value) {
  const auto bytes = static_cast<int64_t>(SizeOf(head.dtype));
  const int64_t slot = token % kPageTokens;
  char* const page = const_cast<char*>(head.pages[token / kPageTokens]);
  char* const keys = page + head.keys +
                     (slot / kKeyTokens * kKeyTokens * head.head_dim + slot % kKeyTokens) * bytes;
  char* const values = page + head.values + slot * head.head_dim * bytes;
  if (head.dtype != DType::kFloat16) {
    StoreKey(key, head.head_dim, keys);
    std::memcpy(values, value, static_cast<size_t>(head.head_dim) * sizeof(float));
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

template <DType kDType, int kQueries>
inline void ScoreBlock(const char* keys, const char* ahead, const float* queries, int64_t head_dim,
                       float scale, float* scores, int64_t stride) {
  constexpr int64_t kBytes = static_cast<int64_t>(SizeOf(kDType));
  Simd::Vector sums[kQueries][kKeyVectors];
  for (int i = 0; i < kQueries; ++i) {
    for (int v = 0; v < kKeyVectors; ++v) sums[i][v] = Simd::Zero();
  }
  for (int64_t d = 0; d < head_dim; ++d) {
    __builtin_prefetch(ahead + d * kKeyTokens * kBytes, 0, kSecondCache);
    Simd::Vector key[kKeyVectors];
    for (int v = 0; v < kKeyVectors; ++v) {
      key[v] = Simd::LoadAs(keys + (d * kKeyTokens + v * Simd::kLanes) * kBytes, kDType);
    }
    for (int i = 0; i < kQueries; ++i) {
      const auto q = Simd::Set(queries[i * head_dim + d]);
      for (int v = 0; v < kKeyVectors; ++v) sums[i][v] = Simd::MulAdd(q, key[v], sums[i][v]);
    }
  }
  for (int i = 0; i < kQueries; ++i) {
    for (int v = 0; v < kKeyVectors; ++v) {
      Simd::Store(scores + i * stride + v * Simd::kLanes, Simd::Mul(sums[i][v], Simd::Set(scale)));
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

template <DType kDType, int kQueries>
inline void ScorePages(const ScoreCall& call) {
  const int64_t head_dim = call.head.head_dim;
  const int64_t block_bytes = kKeyTokens * head_dim * static_cast<int64_t>(SizeOf(kDType));
  for (int64_t page = call.first; page < call.last; ++page) {
    for (int64_t block = 0; block < kPageTokens / kKeyTokens; ++block) {
      const char* const keys = call.head.pages[page] + call.head.keys + block * block_bytes;
      // Pages lie anywhere: the processor does not guess the next one.
      const int64_t next = std::min(page + 1, call.last - 1);
      const char* const ahead = call.head.pages[next] + call.head.keys + block * block_bytes;
      ScoreBlock<kDType, kQueries>(keys, ahead, call.queries, head_dim, call.scale,
                                   call.scores + page * kPageTokens + block * kKeyTokens,
                                   call.stride);
    }
  }
}

template <DType kDType>
inline void Scores(ScoreCall call, int64_t count) {
  for (; count >= kAtOnce; count -= kAtOnce) {
    ScorePages<kDType, kAtOnce>(call);
    call.queries += kAtOnce * call.head.head_dim;
    call.scores += kAtOnce * call.stride;
  }
  if (count == 3) ScorePages<kDType, 3>(call);
  if (count == 2) ScorePages<kDType, 2>(call);
  if (count == 1) ScorePages<kDType, 1>(call);
}

void PagedScores(const PagedHead& head, const float* queries, int64_t count, float scale,
                 int64_t first, int64_t last, float* scores, int64_t stride) {
  constexpr float kLog2e = 1.44269504088896341f;
  const ScoreCall call{head, queries, scale * kLog2e, first, last, scores, stride};
  if (head.dtype == DType::kFloat16) {
    Scores<DType::kFloat16>(call, count);
  } else {
    Scores<DType::kFloat32>(call, count);
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
template <DType kDType, int kQueries>
inline void AddPage(const ValueCall& call, int64_t page, int64_t d) {
  constexpr int64_t kBytes = static_cast<int64_t>(SizeOf(kDType));
  const int64_t row = call.head.head_dim * kBytes;
  const char* values = call.head.pages[page] + call.head.values + d * kBytes;
  const bool is_last = (page + 1) * kPageTokens >= call.length;
  const char* const ahead =
      call.head.pages[is_last ? page : page + 1] + call.head.values + d * kBytes;
  const int64_t tokens = std::min(kPageTokens, call.length - page * kPageTokens);
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
      value[v] = Simd::LoadAs(values + t * row + v * Simd::kLanes * kBytes, kDType);
    }
    for (int i = 0; i < kQueries; ++i) {
      const auto weight = Simd::Set(call.weights[i * call.stride + page * kPageTokens + t]);
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

template <DType kDType, int kQueries>
inline void AddPages(const ValueCall& call) {
  for (int64_t page = 0; page * kPageTokens < call.length; ++page) {
    for (int64_t d = call.first; d < call.last; d += kKeyTokens) {
      AddPage<kDType, kQueries>(call, page, d);
    }
  }
}

template <DType kDType>
inline void Values(ValueCall call, int64_t count) {
  for (; count >= kAtOnce; count -= kAtOnce) {
    AddPages<kDType, kAtOnce>(call);
    call.weights += kAtOnce * call.stride;
    call.out += kAtOnce * call.out_stride;
  }
  if (count == 3) AddPages<kDType, 3>(call);
  if (count == 2) AddPages<kDType, 2>(call);
  if (count == 1) AddPages<kDType, 1>(call);
}

void PagedValues(const PagedHead& head, const float* weights, int64_t count, int64_t stride,
                 int64_t length, int64_t first, int64_t last, float* out, int64_t out_stride) {
  const ValueCall call{head, weights, stride, length, first, last, out, out_stride};
  if (head.dtype == DType::kFloat16) {
    Values<DType::kFloat16>(call, count);
  } else {
    Values<DType::kFloat32>(call, count);
  }
}

}  // namespace g4v::kernels::G4V_TARGET
G4V_END_TARGET
