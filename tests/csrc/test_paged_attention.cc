// Attention over pages (kernels/cpu/llama): against softmax in float64, and the same bits on every
// instruction set and for any grouping of queries, pages and coordinates.
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "check.h"
#include "kernels/cpu/float16.h"
#include "kernels/cpu/llama/paged_attention.h"
#include "kernels/cpu/llama/rms_norm.h"
#include "kernels/cpu/llama/rotary.h"

namespace {

using namespace g4v::kernels;

struct Conversation {
  int64_t tokens;
  int64_t head_dim;
  std::vector<float> keys, values;  // [tokens, head_dim], rounded to the pages' type
  std::vector<std::vector<char>> memory;
  std::vector<const char*> pages;
  PagedHead head;
};

// What a page keeps of a token's key or value.
std::vector<float> Rounded(std::vector<float> values, KvType type) {
  float largest = 0.0f;
  for (const float x : values) largest = std::max(largest, std::abs(x));
  const float scale = largest / 127.0f;
  for (float& x : values) {
    if (type == KvType::kFloat16) x = Float16ToFloat(FloatToFloat16(x));
    if (type == KvType::kInt8) x = scale * std::nearbyint(x * (1.0f / scale));
  }
  return values;
}

Conversation Make(int64_t tokens, int64_t head_dim, KvType type, std::mt19937& random) {
  std::normal_distribution<float> normal;
  Conversation c{tokens, head_dim, {}, {}, {}, {}, {}};
  const auto part = static_cast<size_t>(PagePartBytes(type, head_dim));
  const int64_t pages = (tokens + kPageTokens - 1) / kPageTokens;
  for (int64_t i = 0; i < pages; ++i) c.memory.emplace_back(2 * part + 64, char{0x3c});
  for (const auto& page : c.memory) c.pages.push_back(page.data());
  c.head = {c.pages.data(), 64, static_cast<int64_t>(64 + part), head_dim, type};
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<float> key, value;
    for (int64_t d = 0; d < head_dim; ++d) {
      key.push_back(normal(random));
      value.push_back(normal(random));
    }
    StoreToken(c.head, t, key.data(), value.data());
    for (const float x : Rounded(key, type)) c.keys.push_back(x);
    for (const float x : Rounded(value, type)) c.values.push_back(x);
  }
  return c;
}

// Every instruction set stores the same bits, those of float16.h.
void TestStoreToken(std::mt19937& random) {
  constexpr int64_t kHeadDim = 48;
  std::uniform_int_distribution<uint32_t> bits;
  std::vector<float> key, value;
  for (int64_t d = 0; d < kHeadDim; ++d) {  // of every size: subnormal, too large, halfway
    for (auto* x : {&key, &value}) {
      const float any = std::bit_cast<float>(bits(random));
      const float halfway = std::bit_cast<float>((bits(random) & 0xBFFFE000u) | 0x1000u);
      x->push_back(!std::isfinite(any) || d % 2 ? halfway : any);
    }
  }
  for (const int64_t token : {0, 17, 31}) {
    for (const Isa isa : kIsas) {
      if (!Available(isa)) continue;
      constexpr int64_t kPart = PagePartBytes(KvType::kFloat16, kHeadDim);
      std::vector<char> memory(static_cast<size_t>(2 * kPart));
      const char* const page = memory.data();
      StoreToken({&page, 0, kPart, kHeadDim, KvType::kFloat16}, token, key.data(), value.data(),
                 isa);
      const auto at = [&](int64_t index) {
        uint16_t half;
        std::memcpy(&half, page + 2 * index, 2);
        return half;
      };
      for (int64_t d = 0; d < kHeadDim; ++d) {
        const auto i = static_cast<size_t>(d);
        CHECK(at((token / 16 * kHeadDim + d) * 16 + token % 16) == FloatToFloat16(key[i]));
        CHECK(at(kPart / 2 + token * kHeadDim + d) == FloatToFloat16(value[i]));
      }
    }
  }
}

// Codes and scales are the same on every instruction set; what has none is stored as zeros, what is
// not finite as NaN.
void TestStoreInt8(std::mt19937& random) {
  constexpr int64_t kHeadDim = 48;
  constexpr int64_t kPart = PagePartBytes(KvType::kInt8, kHeadDim);
  std::normal_distribution<float> normal;
  const auto stored = [&](const std::vector<float>& key, int64_t token, Isa isa) {
    std::vector<char> memory(static_cast<size_t>(2 * kPart));
    const char* const page = memory.data();
    StoreToken({&page, 0, kPart, kHeadDim, KvType::kInt8}, token, key.data(), key.data(), isa);
    return memory;
  };
  const auto scale_of = [&](const std::vector<char>& memory, int64_t part, int64_t token) {
    float scale;
    std::memcpy(&scale, memory.data() + part * kPart + kPageTokens * kHeadDim + 4 * token, 4);
    return scale;
  };
  for (const float size : {1.0f, 1e-3f, 1e30f, 1e-20f, 1e-36f, 0.0f, INFINITY, NAN}) {
    std::vector<float> key;
    for (int64_t d = 0; d < kHeadDim; ++d) key.push_back(normal(random) * size);
    if (!std::isfinite(size)) std::fill(key.begin(), key.end() - 3, 1.0f);
    const auto wanted = Rounded(key, KvType::kInt8);
    for (const int64_t token : {0, 17, 31}) {
      const auto plain = stored(key, token, Isa::kPlain);
      for (const Isa isa : kIsas) {
        if (Available(isa)) CHECK(stored(key, token, isa) == plain);
      }
      for (const int64_t part : {0, 1}) {
        const float scale = scale_of(plain, part, token);
        if (!std::isfinite(size)) {
          CHECK(std::isnan(scale));
          continue;
        }
        for (int64_t d = 0; d < kHeadDim; ++d) {
          const int64_t place = part == 0 ? (token / 16 * kHeadDim + d) * 16 + token % 16
                                          : kPart + token * kHeadDim + d;
          const float code = static_cast<signed char>(plain[static_cast<size_t>(place)]);
          const float exact = size < 1e-30f ? 0.0f : wanted[static_cast<size_t>(d)];
          CHECK(scale * code == exact);
        }
      }
    }
  }
}

// All at once: pages, then coordinates.
std::vector<float> Attend(const Conversation& c, const std::vector<float>& queries, int64_t count,
                          int64_t length, float scale, Isa isa) {
  const int64_t pages = (length + kPageTokens - 1) / kPageTokens;
  const int64_t stride = pages * kPageTokens;
  std::vector<float> scores(static_cast<size_t>(count * stride));
  std::vector<float> out(static_cast<size_t>(count * c.head_dim));
  PagedScores(c.head, queries.data(), count, scale, 0, pages, scores.data(), stride, isa);
  for (int64_t i = 0; i < count; ++i) {
    PagedSoftmax(scores.data() + i * stride, length, stride, isa);
  }
  PagedValues(c.head, scores.data(), count, stride, length, 0, c.head_dim, out.data(), c.head_dim,
              isa);
  return out;
}

std::vector<double> Wanted(const Conversation& c, const float* query, int64_t length, float scale) {
  std::vector<double> weights;
  double sum = 0.0;
  for (int64_t t = 0; t < length; ++t) {
    double score = 0.0;
    for (int64_t d = 0; d < c.head_dim; ++d) {
      score += static_cast<double>(query[d]) * c.keys[static_cast<size_t>(t * c.head_dim + d)];
    }
    weights.push_back(std::exp(score * scale));
    sum += weights.back();
  }
  std::vector<double> out(static_cast<size_t>(c.head_dim));
  for (int64_t t = 0; t < length; ++t) {
    for (int64_t d = 0; d < c.head_dim; ++d) {
      out[static_cast<size_t>(d)] +=
          weights[static_cast<size_t>(t)] / sum * c.values[static_cast<size_t>(t * c.head_dim + d)];
    }
  }
  return out;
}

void TestAttention(std::mt19937& random) {
  std::normal_distribution<float> normal;
  for (const KvType type : {KvType::kFloat16, KvType::kFloat32, KvType::kInt8}) {
    for (const int64_t head_dim : {16, 48, 64, 128}) {
      for (const int64_t length : {1, 15, 16, 33, 96, 301}) {
        const Conversation c = Make(301, head_dim, type, random);
        const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
        std::vector<float> queries;
        for (int64_t i = 0; i < 7 * head_dim; ++i) queries.push_back(normal(random));
        const std::vector<float> all = Attend(c, queries, 7, length, scale, Isa::kPlain);
        double worst = 0.0;
        for (int64_t i = 0; i < 7; ++i) {
          const auto wanted = Wanted(c, queries.data() + i * head_dim, length, scale);
          for (int64_t d = 0; d < head_dim; ++d) {
            const double found = all[static_cast<size_t>(i * head_dim + d)];
            worst = std::max(worst, std::abs(found - wanted[static_cast<size_t>(d)]));
          }
        }
        CHECK(worst < 5e-6);
        for (const Isa isa : kIsas) {
          if (!Available(isa)) continue;
          for (const int64_t count : {1, 2, 3, 7}) {
            const auto some = Attend(c, queries, count, length, scale, isa);
            CHECK(std::memcmp(some.data(), all.data(), some.size() * sizeof(float)) == 0);
          }
        }
      }
    }
  }
}

// Weights that end before the tokens do, and pages and coordinates one by one.
void TestParts(std::mt19937& random) {
  const Conversation c = Make(100, 32, KvType::kFloat16, random);
  std::vector<float> query(c.keys.begin(), c.keys.begin() + 32);
  for (const Isa isa : kIsas) {
    if (!Available(isa)) continue;
    const std::vector<float> whole = Attend(c, query, 1, 70, 0.2f, isa);
    std::vector<float> scores(128, 1e30f);
    std::vector<float> out(32);
    for (const int64_t page : {2, 0, 1}) {
      PagedScores(c.head, query.data(), 1, 0.2f, page, page + 1, scores.data(), 128, isa);
    }
    PagedSoftmax(scores.data(), 70, 128, isa);
    for (size_t t = 70; t < 128; ++t) CHECK(scores[t] == 0.0f);
    for (const int64_t d : {16, 0}) {
      PagedValues(c.head, scores.data(), 1, 128, 100, d, d + 16, out.data(), 32, isa);
    }
    CHECK(out == whole);
  }
}

void TestNormAndRotary(std::mt19937& random) {
  std::normal_distribution<float> normal;
  for (const int64_t width : {1, 15, 16, 100, 576}) {
    std::vector<float> x, scale;
    for (int64_t i = 0; i < width; ++i) {
      x.push_back(normal(random));
      scale.push_back(normal(random));
    }
    double squares = 0.0;
    for (const float v : x) squares += static_cast<double>(v) * v;
    std::vector<float> out(x.size());
    RmsNorm(x.data(), scale.data(), width, 1e-5f, out.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double wanted =
          x[i] / std::sqrt(squares / static_cast<double>(width) + 1e-5) * scale[i];
      CHECK(std::abs(out[i] - wanted) < 2e-6 * (1.0 + std::abs(wanted)));
    }
  }
  const float frequencies[2] = {1.0f, 0.01f};
  float cosines[2], sines[2];
  RotaryAngles(7, frequencies, 1.5f, 2, cosines, sines);
  float head[4] = {1.0f, 2.0f, 3.0f, 4.0f};
  Rotate(cosines, sines, 2, head);
  CHECK(std::abs(head[0] - 1.5 * (std::cos(7.0) - 3.0 * std::sin(7.0))) < 1e-6);
  CHECK(std::abs(head[2] - 1.5 * (3.0 * std::cos(7.0) + std::sin(7.0))) < 1e-6);
  CHECK(std::abs(head[1] - 1.5 * (2.0 * std::cos(0.07) - 4.0 * std::sin(0.07))) < 1e-6);
  CHECK(std::abs(head[3] - 1.5 * (4.0 * std::cos(0.07) + 2.0 * std::sin(0.07))) < 1e-6);
}

}  // namespace

int main() {
  const unsigned seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  for (const Isa isa : kIsas) {
    if (!Available(isa)) std::fprintf(stderr, "%s: skipped, not on this processor\n", Name(isa));
  }
  TestAttention(random);
  TestParts(random);
  TestNormAndRotary(random);
  TestStoreToken(random);
  TestStoreInt8(random);
  return g4v::test::Finish();
}
