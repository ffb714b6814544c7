// The two products and the softmax of blocked.h in bfloat16 on AMX tiles, with float32 sums.
//
// A tile product is C [16][16] += A [16 rows][32] B [32][16 columns], B with neighbouring pairs of
// its 32 side by side ([16 pairs][16 columns][2]):
//
//   S [keys][queries]  A = K as it lies        B = Q, its pairs of d side by side   (once per task)
//   O [D][queries]     A = V^T                 B = P, its pairs of keys side by side
//
// so that P comes out of the softmax as the second product wants it, and of each block of keys only
// V is transposed. D is padded with zeros to a multiple of 32 in S.
//
// Tiles and vectors work at the same time: while the softmax takes 32 keys of a panel of 32
// queries, the tiles compute the scores of the next 32 and add the panel before to its O, a few
// products between every two vectors (TileWork). Both need about 85 ns at D = 64.
//
// Where flash attention corrects O with every new maximum, here the exponents of a panel stay
// relative to the maximum of its first 32 keys until the weights of a block add up to more than
// kMostWeight: bfloat16 and float32 lose nothing by larger weights. Then, and only then, the
// maximum is taken over the block and the sums before are corrected (Rebase).
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/cpu/block.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/rows.h"

namespace g4v::kernels {
namespace {

constexpr int64_t kTile = 16;        // rows of a tile; columns of 32 bits
constexpr int64_t kTileKeys = 32;    // keys of a step: the depth of a product
constexpr int64_t kTileWords = 512;  // 16-bit values in a tile
constexpr float kMostWeight = 16384.0f;
// Weights are rounded by cutting off 16 bits, after they were made larger by what that takes from
// them on average.
constexpr float kRoundUp = 1.0f + 0.7213f / 256;

// A tile that is read or written is memory that the compiler must not keep in registers.
inline void Fence() { __asm__ volatile("" ::: "memory"); }

// Tiles of a thread, all 16 x 64 bytes. Others' configuration (of ONNX Runtime, of oneDNN) is put
// back, since they may take for granted that it is still there.
class TileSession {
 public:
  TileSession() {
    Fence();
    _tile_storeconfig(&before_);
    Config ours{};
    ours.palette = 1;
    for (int i = 0; i < 8; ++i) {
      ours.row_bytes[i] = 64;
      ours.rows[i] = kTile;
    }
    Fence();
    _tile_loadconfig(&ours);
    Fence();
  }
  ~TileSession() {
    if (before_.palette == 0) {
      _tile_release();
    } else {
      _tile_loadconfig(&before_);
    }
  }
  TileSession(const TileSession&) = delete;
  TileSession& operator=(const TileSession&) = delete;

 private:
  struct alignas(64) Config {
    uint8_t palette;
    uint8_t start_row;
    uint8_t reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  };
  Config before_{};
};

// 16 x 16 values of 32 bits.
inline void Transpose(__m512i (&x)[16]) {
  __m512i y[16];
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {  // x[i + j] has column 4 * lane + j of rows i .. i + 3
    x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
  for (int j = 0; j < 4; ++j) {
    y[j] = _mm512_shuffle_i32x4(x[j], x[j + 4], 0x88);      // lanes 0 and 2 of both
    y[j + 4] = _mm512_shuffle_i32x4(x[j], x[j + 4], 0xDD);  // lanes 1 and 3
    y[j + 8] = _mm512_shuffle_i32x4(x[j + 8], x[j + 12], 0x88);
    y[j + 12] = _mm512_shuffle_i32x4(x[j + 8], x[j + 12], 0xDD);
  }
  for (int j = 0; j < 4; ++j) {
    x[j] = _mm512_shuffle_i32x4(y[j], y[j + 8], 0x88);
    x[j + 8] = _mm512_shuffle_i32x4(y[j], y[j + 8], 0xDD);
    x[j + 4] = _mm512_shuffle_i32x4(y[j + 4], y[j + 12], 0x88);
    x[j + 12] = _mm512_shuffle_i32x4(y[j + 4], y[j + 12], 0xDD);
  }
}

// Which of 32 16-bit values at `d` lie inside a row of head_size.
inline __mmask32 InRow(int64_t d, int64_t head_size) {
  return head_size - d >= 32 ? 0xFFFFFFFFu : (1u << (head_size - d)) - 1;
}

// 2^x * kRoundUp for any x; relative error 7.5e-5, a fifth of a hundredth of bfloat16's. The
// polynomial is the minimax one of degree 3 for the relative error of 2^f, f in [0, 1).
inline __m512 RoundedUpExp2(__m512 x) {
  const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
  __m512 p = _mm512_set1_ps(0.07802452147006989f * kRoundUp);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.22606715559959412f * kRoundUp));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.6958335638046265f * kRoundUp));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.9999251961708069f * kRoundUp));
  return _mm512_scalef_ps(p, x);  // takes floor(x) itself
}

// Upper halves of both, side by side.
inline __m512i Pair(__m512 even, __m512 odd) {
  return _mm512_mask_blend_epi16(0xAAAAAAAAu, _mm512_srli_epi32(_mm512_castps_si512(even), 16),
                                 _mm512_castps_si512(odd));
}

// Scratch memory: V as tiles [4][D / 16][16 d][32 keys], P of two panels as
// tiles [4][columns][16 pairs][16 queries][2], S of two steps as tiles [2][columns][16][16].
struct TileScratch {
  uint16_t* v;
  uint16_t* weights[2];
  float* scores[2];
};

// One column of tiles (up to 16 queries) or two of a block.
struct TilePanel {
  const uint16_t* q;  // tiles [padded D / 32][columns][16 pairs][16 queries][2]
  int64_t columns;
  float* maximum;
  float* sum;
  float* out;  // [D][columns * 16]
};

// The products under way, done step by step: two tile products (one where there is one column)
// each.
class TileWork {
 public:
  TileWork(int64_t depth, int64_t d_tiles) : depth_(depth), d_tiles_(d_tiles) {}

  // S of 32 keys at `k`: takes ScoreSteps() steps.
  void BeginScores(const uint16_t* k, const TilePanel& panel, float* scores) {
    k_ = k;
    q_ = panel.q;
    score_columns_ = panel.columns;
    scores_ = scores;
    score_step_ = 0;
  }
  int64_t ScoreSteps() const { return 2 * depth_; }

  void ScoreStep() {
    const int64_t half = score_step_ / depth_;
    const int64_t d = score_step_ % depth_;
    Fence();
    if (d == 0) {
      _tile_zero(0);
      _tile_zero(1);
    }
    _tile_loadd(4, k_ + (half * kTile * depth_ + d) * 32, depth_ * 64);
    const uint16_t* q = q_ + d * score_columns_ * kTileWords;
    _tile_loadd(5, q, 64);
    _tile_dpbf16ps(0, 4, 5);
    if (score_columns_ == 2) {
      _tile_loadd(6, q + kTileWords, 64);
      _tile_dpbf16ps(1, 4, 6);
    }
    if (d + 1 == depth_) {
      float* to = scores_ + half * score_columns_ * kTile * kTile;
      _tile_stored(0, to, 64);
      if (score_columns_ == 2) _tile_stored(1, to + kTile * kTile, 64);
    }
    Fence();
    ++score_step_;
  }

  // O += V^T P of `steps` * 32 keys: takes SumSteps() steps.
  void BeginSums(const uint16_t* v, const uint16_t* weights, const TilePanel& panel,
                 int64_t steps) {
    v_ = v;
    weights_ = weights;
    out_ = panel.out;
    sum_columns_ = panel.columns;
    key_steps_ = steps;
    d_tile_ = key_step_ = 0;
  }
  bool SumsDone() const { return d_tile_ == d_tiles_; }
  int64_t head_size() const { return d_tiles_ * kTile; }

  void SumStep() {
    float* out = out_ + d_tile_ * kTile * sum_columns_ * kTile;
    Fence();
    if (key_step_ == 0) {
      _tile_loadd(2, out, sum_columns_ * 64);
      if (sum_columns_ == 2) _tile_loadd(3, out + kTile, 128);
    }
    _tile_loadd(7, v_ + (key_step_ * d_tiles_ + d_tile_) * kTileWords, 64);
    const uint16_t* weights = weights_ + key_step_ * sum_columns_ * kTileWords;
    _tile_loadd(5, weights, 64);
    _tile_dpbf16ps(2, 7, 5);
    if (sum_columns_ == 2) {
      _tile_loadd(6, weights + kTileWords, 64);
      _tile_dpbf16ps(3, 7, 6);
    }
    if (++key_step_ == key_steps_) {
      _tile_stored(2, out, sum_columns_ * 64);
      if (sum_columns_ == 2) _tile_stored(3, out + kTile, 128);
      key_step_ = 0;
      ++d_tile_;
    }
    Fence();
  }

  void FinishSums() {
    while (!SumsDone()) SumStep();
  }

 private:
  const int64_t depth_;    // of a score: padded D / 32
  const int64_t d_tiles_;  // D / 16
  const uint16_t* k_ = nullptr;
  const uint16_t* q_ = nullptr;
  float* scores_ = nullptr;
  int64_t score_columns_ = 0;
  int64_t score_step_ = 0;
  const uint16_t* v_ = nullptr;
  const uint16_t* weights_ = nullptr;
  float* out_ = nullptr;
  int64_t sum_columns_ = 0;
  int64_t key_steps_ = 0;
  int64_t key_step_ = 0;
  int64_t d_tile_ = d_tiles_;  // nothing to do
};

struct Panels {
  static constexpr int64_t kBlockKeys = 128;
  static constexpr int64_t kMostGroupHeads = 8;
  // Computing takes little longer than reading, so that long runs of memory count.
  static constexpr bool kCopyTogether = true;
  static constexpr int64_t kPanelQueries = 32;
  using Session = TileSession;

  static constexpr int64_t Padded(int64_t head_size) { return (head_size + 31) / 32 * 32; }
  static int64_t QueryFloats(int64_t head_size) { return Padded(head_size) * kBlockQueries / 2; }
  static constexpr int64_t RowFloats(int64_t head_size) { return Padded(head_size) / 2; }
  static int64_t ScratchFloats(int64_t head_size) {
    return kBlockKeys * head_size / 2 + kBlockKeys * kPanelQueries + 2 * kTileKeys * kPanelQueries;
  }

  // What pads D is zeros.
  template <int64_t kSize>
  static void CopyRow(const char* from, DType, float* to) {
#pragma GCC unroll 4
    for (int64_t i = 0; i < kSize / 32; ++i) {
      _mm512_storeu_si512(to + i * 16, _mm512_loadu_si512(from + i * 64));
    }
    if constexpr (kSize % 32 != 0) {
      const char* half = from + kSize / 32 * 64;
      _mm512_storeu_si512(
          to + kSize / 32 * 16,
          _mm512_zextsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(half))));
    }
  }

  static void PackQueries(const CrossAttentionParams& p, const Block& block, float* to) {
    auto* tile = reinterpret_cast<uint16_t*>(to);
    for (int64_t first = 0; first < block.queries; first += kPanelQueries) {
      const int64_t columns = Columns(block, first);
      for (int64_t d = 0; d < p.head_size; d += 32) {
        for (int64_t c = 0; c < columns; ++c, tile += kTileWords) {
          __m512i rows[16];
          for (int64_t i = 0; i < 16; ++i) {
            const int64_t query = first + c * kTile + i;
            rows[i] =
                query < block.queries
                    ? _mm512_maskz_loadu_epi16(
                          InRow(d, p.head_size),
                          Row(p.q, p.dtype, block.b, block.h, block.first_query + query) + 2 * d)
                    : _mm512_setzero_si512();
          }
          Transpose(rows);
          for (int64_t i = 0; i < 16; ++i) _mm512_storeu_si512(tile + i * 32, rows[i]);
        }
      }
    }
  }

  static int64_t Steps(int64_t queries, int64_t keys, int64_t) {
    return (queries + kPanelQueries - 1) / kPanelQueries * ((keys + kTileKeys - 1) / kTileKeys) * 8;
  }

  template <class Prefetch>
  static void Attend(const CrossAttentionParams& p, const Block& block, int64_t count,
                     const float* q, const float* key_rows, const float* value_rows,
                     const Part& part, float* memory, Prefetch&& prefetch) {
    const int64_t d = p.head_size;
    const int64_t steps = (count + kTileKeys - 1) / kTileKeys;
    TileScratch scratch{};
    scratch.v = reinterpret_cast<uint16_t*>(memory);
    scratch.weights[0] = scratch.v + kBlockKeys * d;
    scratch.weights[1] = scratch.weights[0] + kBlockKeys * kPanelQueries;
    scratch.scores[0] = reinterpret_cast<float*>(scratch.weights[1] + kBlockKeys * kPanelQueries);
    scratch.scores[1] = scratch.scores[0] + kTileKeys * kPanelQueries;
    // Scores of rows past the last key are computed too, up to a multiple of 32, and thrown away.
    const auto* const k = reinterpret_cast<const uint16_t*>(key_rows);
    PackValues(reinterpret_cast<const uint16_t*>(value_rows), d, count, scratch.v);

    const auto panel_at = [&](int64_t query) {
      const int64_t start = query * d;
      return TilePanel{reinterpret_cast<const uint16_t*>(q) + query * Padded(d),
                       Columns(block, query), part.maximum + query, part.sum + query,
                       part.out + start};
    };
    const float scale = p.scale * kLog2E;
    TileWork work(Padded(d) / 32, d / kTile);
    work.BeginScores(k, panel_at(0), scratch.scores[0]);
    for (int64_t i = 0; i < work.ScoreSteps(); ++i) work.ScoreStep();
    int64_t step = 0;  // of 32 keys and a panel
    for (int64_t query = 0; query < block.queries; query += kPanelQueries) {
      const TilePanel panel = panel_at(query);
      uint16_t* weights = scratch.weights[query / kPanelQueries % 2];
      __m512 total[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
      if (panel.maximum[0] == std::numeric_limits<float>::lowest()) {
        FirstMaximum(panel, scratch.scores[step % 2], std::min(count, kTileKeys), scale);
      }
      for (int64_t i = 0; i < steps; ++i, ++step) {
        const bool same = i + 1 < steps;
        const bool more = same || query + kPanelQueries < block.queries;
        if (more) {
          work.BeginScores(k + (same ? (i + 1) * kTileKeys * Padded(d) : 0),
                           same ? panel : panel_at(query + kPanelQueries),
                           scratch.scores[(step + 1) % 2]);
        }
        const auto between = [&](int64_t eighth) {
          prefetch();
          if (more) {
            const int64_t all = work.ScoreSteps();
            for (int64_t n = all * eighth / 8; n < all * (eighth + 1) / 8; ++n) work.ScoreStep();
          }
          const int64_t all = d / kTile;
          for (int64_t n = all * eighth / 8; n < all * (eighth + 1) / 8; ++n) {
            if (!work.SumsDone()) work.SumStep();
          }
        };
        const int64_t keys = std::min(count - i * kTileKeys, kTileKeys);
        uint16_t* to = weights + i * panel.columns * kTileWords;
        if (panel.columns == 2) {
          Weigh<2>(scratch.scores[step % 2], keys, scale, panel.maximum, to, total, between);
        } else {
          Weigh<1>(scratch.scores[step % 2], keys, scale, panel.maximum, to, total, between);
        }
      }
      work.FinishSums();
      if (!Within(total, panel.columns)) Rebase(work, k, panel, weights, count, scale, total);
      for (int64_t c = 0; c < panel.columns; ++c) {
        float* at = panel.sum + c * kTile;
        _mm512_storeu_ps(
            at, _mm512_fmadd_ps(total[c], _mm512_set1_ps(1.0f / kRoundUp), _mm512_loadu_ps(at)));
      }
      work.BeginSums(scratch.v, weights, panel, steps);
    }
    work.FinishSums();
  }

 private:
  static int64_t Columns(const Block& block, int64_t query) {
    return block.queries - query > kTile ? 2 : 1;
  }

  // The tiles of `count` rows [128][padded D], and of zeros for no key.
  static void PackValues(const uint16_t* rows, int64_t head_size, int64_t count, uint16_t* to) {
    const int64_t padded = Padded(head_size);
    for (int64_t first = 0; first < count; first += kTileKeys, to += head_size * kTileKeys) {
      for (int64_t d = 0; d < head_size; d += 32) {
        __m512i low[16];   // pairs of keys, side by side, at d + 8 * lane + 0 .. 3
        __m512i high[16];  // and + 4 .. 7
        for (int64_t i = 0; i < 16; ++i) {
          const int64_t key = first + 2 * i;
          const uint16_t* at = rows + key * padded + d;
          const __m512i even = key < count ? _mm512_loadu_si512(at) : _mm512_setzero_si512();
          const __m512i odd =
              key + 1 < count ? _mm512_loadu_si512(at + padded) : _mm512_setzero_si512();
          low[i] = _mm512_unpacklo_epi16(even, odd);
          high[i] = _mm512_unpackhi_epi16(even, odd);
        }
        Transpose(low);
        Transpose(high);
        for (int64_t i = 0; i < 16; ++i) {
          const int64_t row = d + i / 4 * 8 + i % 4;
          if (row >= head_size) break;
          uint16_t* at = to + row * kTileKeys;  // rows of the tiles follow one another
          _mm512_storeu_si512(at, low[i]);
          _mm512_storeu_si512(at + 4 * kTileKeys, high[i]);
        }
      }
    }
  }

  static bool Within(const __m512 (&total)[2], int64_t columns) {
    const __m512 most = _mm512_set1_ps(kMostWeight);
    __mmask16 within = _mm512_cmp_ps_mask(total[0], most, _CMP_LE_OQ);  // a NaN is not
    if (columns == 2) within &= _mm512_cmp_ps_mask(total[1], most, _CMP_LE_OQ);
    return within == 0xFFFF;
  }

  // The scores' maximum for every query, in powers of two, and what was there; NaN is passed over.
  static void Maximum(const float* scores, int64_t columns, int64_t keys, float scale,
                      float* maximum) {
    for (int64_t c = 0; c < columns; ++c) {
      __m512 above = _mm512_loadu_ps(maximum + c * kTile);
      for (int64_t i = 0; i < keys; ++i) {
        const float* at = scores + (i / kTile * columns + c) * kTile * kTile + i % kTile * kTile;
        above = _mm512_max_ps(_mm512_mul_ps(_mm512_loadu_ps(at), _mm512_set1_ps(scale)), above);
      }
      _mm512_storeu_ps(maximum + c * kTile, above);
    }
  }

  static void FirstMaximum(const TilePanel& panel, const float* scores, int64_t keys, float scale) {
    Maximum(scores, panel.columns, keys, scale, panel.maximum);
  }

  // P of 32 keys (or `keys`, then zeros) from their scores, and the sum of every query's. Calls
  // between(0 .. 7) on the way.
  template <int C, class Between>
  static void Weigh(const float* scores, int64_t keys, float scale, const float* maximum,
                    uint16_t* weights, __m512 (&total)[2], Between&& between) {
    const __m512 factor = _mm512_set1_ps(scale);
    __m512 top[C];
    __m512 sum[C];
    for (int c = 0; c < C; ++c) {
      top[c] = _mm512_loadu_ps(maximum + c * kTile);
      sum[c] = total[c];
    }
    const auto weight = [&](const float* at, int c) {
      return RoundedUpExp2(_mm512_fmsub_ps(_mm512_loadu_ps(at), factor, top[c]));
    };
    for (int64_t eighth = 0; eighth < 8; ++eighth) {
      between(eighth);
#pragma GCC unroll 2
      for (int64_t pair = eighth * 2; pair < eighth * 2 + 2; ++pair) {
        const float* rows = scores + pair / 8 * C * kTile * kTile + pair % 8 * 2 * kTile;
#pragma GCC unroll 2
        for (int c = 0; c < C; ++c) {
          const float* at = rows + c * kTile * kTile;
          __m512 even = weight(at, c);
          __m512 odd = weight(at + kTile, c);
          if (__builtin_expect(pair * 2 + 1 >= keys, 0)) {
            if (pair * 2 >= keys) even = _mm512_setzero_ps();
            odd = _mm512_setzero_ps();
          }
          sum[c] = _mm512_add_ps(sum[c], _mm512_add_ps(even, odd));
          _mm512_storeu_si512(weights + c * kTileWords + pair * 32, Pair(even, odd));
        }
      }
    }
    for (int c = 0; c < C; ++c) total[c] = sum[c];
  }

  // Takes a block's weights anew, relative to the maximum of all its scores, and corrects what the
  // panel summed up before. The scores are computed again: they were kept for 32 keys at a time.
  static void Rebase(TileWork& work, const uint16_t* k, const TilePanel& panel, uint16_t* weights,
                     int64_t count, float scale, __m512 (&total)[2]) {
    alignas(64) float scores[kTileKeys * kPanelQueries];
    const int64_t row = work.ScoreSteps() / 2 * 32;
    const auto each = [&](auto&& use) {
      for (int64_t first = 0; first < count; first += kTileKeys) {
        work.BeginScores(k + first * row, panel, scores);
        for (int64_t i = 0; i < work.ScoreSteps(); ++i) work.ScoreStep();
        use(first / kTileKeys, std::min(count - first, kTileKeys));
      }
    };
    __m512 keep[2];
    for (int64_t c = 0; c < panel.columns; ++c)
      keep[c] = _mm512_loadu_ps(panel.maximum + c * kTile);
    each(
        [&](int64_t, int64_t keys) { Maximum(scores, panel.columns, keys, scale, panel.maximum); });
    for (int64_t c = 0; c < panel.columns; ++c) {
      keep[c] = Simd::Exp2(_mm512_sub_ps(keep[c], _mm512_loadu_ps(panel.maximum + c * kTile)));
      const auto correct = [&](float* at) {
        _mm512_storeu_ps(at, _mm512_mul_ps(_mm512_loadu_ps(at), keep[c]));
      };
      correct(panel.sum + c * kTile);
      for (int64_t d = 0; d < work.head_size(); ++d) {
        correct(panel.out + (d * panel.columns + c) * kTile);
      }
      total[c] = _mm512_setzero_ps();
    }
    each([&](int64_t step, int64_t keys) {
      uint16_t* to = weights + step * panel.columns * kTileWords;
      const auto nothing = [](int64_t) {};
      if (panel.columns == 2) {
        Weigh<2>(scores, keys, scale, panel.maximum, to, total, nothing);
      } else {
        Weigh<1>(scores, keys, scale, panel.maximum, to, total, nothing);
      }
    });
  }
};

}  // namespace
}  // namespace g4v::kernels
