// Only what lies between the pragmas may use the instructions: an inline function of a header that
// was compiled with them could be the copy that the linker keeps for everybody.
#include "kernels/cpu/gemm/gemm_amx.h"

#include "kernels/cpu/simd/targets.h"

#ifdef G4V_AMX

#include <immintrin.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

namespace g4v::kernels {
namespace {

constexpr int64_t kBlock = 32;         // rows and columns of C of a step, and the depth of one
constexpr int64_t kPieceWords = 1024;  // 16-bit values of a step's factor in each piece
// Of a level-2 cache, for what is read again and again: tiles of A, and two panels of B, the one
// that is multiplied and the one that is asked for meanwhile.
constexpr int64_t kCacheBytes = 11 << 17;
constexpr int64_t kMostSteps = 32;    // of a part, so that most of that is left to A
constexpr int64_t kFewestSteps = 16;  // of a part, below which its sums take too much time
// More rows are one product after another, since A's tiles take up to 6 bytes a value.
constexpr int64_t kMostRows = 1024;
constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = 2 << 20;

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t Blocks(int64_t count) { return DivideUp(count, kBlock); }

// 16-bit values of 32 rows of A, or of 32 columns of B.
int64_t BlockWords(int64_t depth, int pieces) { return Blocks(depth) * pieces * kPieceWords; }

// Rows of each of the products but the last.
int64_t RowsAtOnce(int64_t rows) {
  const int64_t products = std::max<int64_t>(1, DivideUp(rows, kMostRows));
  return std::max<int64_t>(1, DivideUp(Blocks(rows), products)) * kBlock;
}

// How B passes by A: once for each chunk of the rows of A, and all of that part by part of the
// depth. The sums of a part are where the next one begins, so that the result is the same however
// many there are.
struct Passes {
  int64_t parts;
  int64_t chunks;
};

// Chunks read B again, parts write and read sums again: whichever are fewer bytes.
Passes PlanPasses(int64_t rows, int64_t depth, int pieces) {
  const int64_t steps = Blocks(depth);
  const int64_t panel = BlockWords(depth, pieces) * static_cast<int64_t>(sizeof(uint16_t));
  const int64_t tiles = DivideUp(rows, kBlock / 2) * panel / 2;  // of A, 16 rows each
  const auto chunks = [&](int64_t parts) {
    return DivideUp(tiles / parts, kCacheBytes - 2 * panel / parts);
  };
  const int64_t fewest = std::max<int64_t>(1, DivideUp(steps, kMostSteps));
  const int64_t one_chunk = std::max(fewest, DivideUp(tiles + 2 * panel, kCacheBytes));
  const int64_t again =
      (chunks(fewest) - 1) * pieces * depth * static_cast<int64_t>(sizeof(uint16_t));
  const int64_t sums = (one_chunk - fewest) * rows * 2 * static_cast<int64_t>(sizeof(float));
  if (one_chunk * kFewestSteps <= steps && sums < again) return {one_chunk, 1};
  return {fewest, std::min(chunks(fewest), Blocks(rows))};
}

}  // namespace

bool TiledProductAvailable() { return AmxAvailable(); }

}  // namespace g4v::kernels

#ifdef __clang__
#pragma clang attribute push(                                                       \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma," \
                          "amx-tile,amx-bf16"))),                                   \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,amx-tile,amx-bf16")
#endif

#include "kernels/cpu/gemm/micro_kernel_amx.h"

namespace g4v::kernels {
namespace {

inline __mmask16 Lanes(int64_t count) {
  return count >= 16 ? 0xFFFF : count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

// Rows of A from 32 * block on, as [steps][pieces][2 tiles][16 rows][32]; zeros pad them.
template <int kPieces>
void PackRows(const float* a, int64_t rows, int64_t depth, int64_t block, uint16_t* to) {
  for (int64_t i = 0; i < kBlock; ++i) {
    const int64_t row = block * kBlock + i;
    uint16_t* tile = to + i / kTile * kTileWords + i % kTile * 32;
    for (int64_t d = 0; d < depth; d += kBlock) {
      __m512 first[kPieces] = {};
      __m512 second[kPieces] = {};
      if (row < rows) {
        const float* at = a + row * depth + d;
        Split(_mm512_maskz_loadu_ps(Lanes(depth - d), at), first);
        Split(_mm512_maskz_loadu_ps(Lanes(depth - d - 16), at + 16), second);
      }
      for (int j = 0; j < kPieces; ++j, tile += kPieceWords) {
        _mm512_store_si512(tile, Narrow(first[j], second[j]));
      }
    }
  }
}

// Columns of B from 32 * panel on, as [steps][pieces][2 tiles][16 pairs][16 columns][2].
template <int kPieces>
void PackPanel(const float* b, int64_t depth, int64_t columns, int64_t panel, uint16_t* to) {
  for (int64_t d = 0; d < depth; d += kBlock, to += kPieces * kPieceWords) {
    for (int64_t c = 0; c < 2; ++c) {
      const int64_t column = panel * kBlock + c * kTile;
      const __mmask16 lanes = Lanes(columns - column);
      for (int64_t pair = 0; pair < kTile; ++pair) {
        const int64_t row = d + 2 * pair;
        const float* at = b + row * columns + column;
        __m512 even[kPieces];
        __m512 odd[kPieces];
        Split(_mm512_maskz_loadu_ps(row < depth ? lanes : 0, at), even);
        Split(_mm512_maskz_loadu_ps(row + 1 < depth ? lanes : 0, at + columns), odd);
        uint16_t* tile = to + c * kTileWords + pair * 32;
        for (int j = 0; j < kPieces; ++j, tile += kPieceWords) {
          _mm512_store_si512(tile, Pair(even[j], odd[j]));
        }
      }
    }
  }
}

// Asks for memory while something else goes on: a line at a time, evenly over `calls` calls. Some
// 16 requests of a core can be under way, and what the tiles load from the level-2 cache takes its
// turn with them: evenly is 1.1 times faster than a few lines at once, and that 1.1 times than not
// at all.
class Prefetch {
 public:
  Prefetch(const uint16_t* first, int64_t words, int64_t calls)
      : next_(reinterpret_cast<const char*>(first)),
        lines_(words * static_cast<int64_t>(sizeof(uint16_t)) / kLine),
        calls_(calls) {}

  void operator()() {
    for (due_ += lines_; due_ >= calls_; due_ -= calls_, next_ += kLine) {
      _mm_prefetch(next_, _MM_HINT_T1);
    }
  }

 private:
  static constexpr int64_t kLine = 64;
  const char* next_;
  int64_t lines_;
  int64_t calls_;
  int64_t due_ = 0;  // of lines_ * calls_
};

// R * 16 x 32 values of C, as tiles [R][2][16][16]; with `more`, added to what they are.
template <int R, int kPieces>
inline void Sums(const uint16_t* a, const uint16_t* b, int64_t steps, bool more, float* sums,
                 Prefetch& prefetch) {
  Fence();
  if (more) {
    LoadSums<R, 2>(sums, 64, kTile * kTile, 2 * kTile * kTile);
  } else {
    ClearSums<R, 2>();
  }
  for (int64_t i = 0; i < steps; ++i, a += kPieces * kPieceWords, b += kPieces * kPieceWords) {
    Products<R, 2, kPieces>({{a, a + kTileWords}, 64, kPieceWords}, b, prefetch);
  }
  StoreSums<R, 2>(sums, 64, kTile * kTile, 2 * kTile * kTile);
  Fence();
}

template <int kPieces>
class Call {
 public:
  Call(const float* a, int64_t rows, const TiledMatrix& b, float* c, void* workspace)
      : a_(a), rows_(rows), b_(b), c_(c), tiles_(static_cast<uint16_t*>(workspace)) {
    block_words_ = BlockWords(b.depth(), kPieces);
    steps_ = Blocks(b.depth());
    const Passes passes = PlanPasses(rows, b.depth(), kPieces);
    parts_ = passes.parts;
    chunks_ = passes.chunks;
    blocks_ = Blocks(rows);
    panels_ = Blocks(b.columns());
    sums_ = reinterpret_cast<float*>(tiles_ + blocks_ * block_words_);
    stream_ = b.columns() % kBlock == 0 && reinterpret_cast<uintptr_t>(c) % kAlignment == 0;
  }

  void Run(Parallel& parallel) {
    const auto pack = [](void* context, int64_t block) {
      const Call& call = *static_cast<Call*>(context);
      PackRows<kPieces>(call.a_, call.rows_, call.b_.depth(), block,
                        call.tiles_ + block * call.block_words_);
    };
    parallel.Run(blocks_, pack, this);
    const auto work = [](void* context, int64_t) { static_cast<Call*>(context)->Work(); };
    for (part_ = 0; part_ < parts_; ++part_) {
      next_ = 0;
      parallel.Run(std::min<int64_t>(parallel.threads(), chunks_ * panels_), work, this);
    }
  }

 private:
  // Each thread takes panel after panel, so that one that is late leaves its share to the others.
  void Work() {
    const TileSession session;
    const int64_t first_step = steps_ * part_ / parts_;
    const int64_t steps = steps_ * (part_ + 1) / parts_ - first_step;
    const int64_t skip = first_step * kPieces * kPieceWords;
    for (int64_t i = Take(), next; i < chunks_ * panels_; i = next) {
      next = Take();
      const int64_t chunk = i / panels_;
      const uint16_t* b = b_.panel(i % panels_) + skip;
      const int64_t first = blocks_ * chunk / chunks_;
      const int64_t end = blocks_ * (chunk + 1) / chunks_;
      const int64_t tiles = std::min(2 * end, DivideUp(rows_, kTile)) - 2 * first;
      const bool more = next < chunks_ * panels_;
      Prefetch prefetch(b_.panel(more ? next % panels_ : 0) + skip,
                        more ? steps * kPieces * kPieceWords : 0,
                        2 * tiles * steps * kPieceProducts<kPieces>);
      for (int64_t block = first; block < end; ++block) {
        alignas(64) float whole[kBlock * kBlock];
        float* const sums =
            parts_ == 1 ? whole : sums_ + (block * panels_ + i % panels_) * kBlock * kBlock;
        const uint16_t* a = tiles_ + block * block_words_ + skip;
        if (rows_ - block * kBlock > kTile) {
          Sums<2, kPieces>(a, b, steps, part_ > 0, sums, prefetch);
        } else {  // a frame of 257 rows ends so
          Sums<1, kPieces>(a, b, steps, part_ > 0, sums, prefetch);
        }
        if (part_ + 1 == parts_) Write(sums, block * kBlock, i % panels_ * kBlock);
      }
    }
    _mm_sfence();
  }

  int64_t Take() { return next_.fetch_add(1, std::memory_order_relaxed); }

  void Write(const float* sums, int64_t row, int64_t column) const {
    const int64_t rows = std::min(kBlock, rows_ - row);
    const int64_t left = b_.columns() - column;
    float* to = c_ + row * b_.columns() + column;
    for (int64_t i = 0; i < rows; ++i, to += b_.columns()) {
      const float* at = sums + i / kTile * 2 * kTile * kTile + i % kTile * kTile;
      const __m512 low = _mm512_load_ps(at);
      const __m512 high = _mm512_load_ps(at + kTile * kTile);
      if (stream_) {
        _mm512_stream_ps(to, low);
        _mm512_stream_ps(to + kTile, high);
      } else {
        _mm512_mask_storeu_ps(to, Lanes(left), low);
        _mm512_mask_storeu_ps(to + kTile, Lanes(left - kTile), high);
      }
    }
  }

  const float* a_;
  int64_t rows_;
  const TiledMatrix& b_;
  float* c_;
  uint16_t* tiles_;  // of A: [blocks_][block_words_]
  float* sums_;      // of more than one part: [blocks_][panels_][32 * 32]
  int64_t block_words_;
  int64_t steps_;   // of 32 values of depth
  int64_t parts_;   // of the depth
  int64_t blocks_;  // of 32 rows
  int64_t chunks_;
  int64_t panels_;
  // Whether C is written past the caches. Stores into 32 rows, each in a page of its own, have
  // their lines brought in first, and the tiles' loads wait for them: 1.2 times faster without.
  bool stream_;
  int64_t part_ = 0;
  std::atomic<int64_t> next_{0};
};

}  // namespace
}  // namespace g4v::kernels

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace g4v::kernels {

TiledMatrix::TiledMatrix(const float* values, int64_t depth, int64_t columns, int pieces,
                         Parallel& parallel)
    : depth_(depth), columns_(columns), pieces_(pieces) {
  const auto words = static_cast<size_t>(Blocks(columns) * BlockWords(depth, pieces));
  const size_t bytes = words * sizeof(uint16_t);
  const size_t page = bytes < kHugePage ? kAlignment : kHugePage;
  tiles_.reset(static_cast<uint16_t*>(std::aligned_alloc(page, (bytes + page - 1) / page * page)));
  if (!tiles_ && bytes > 0) throw std::bad_alloc();
  // Fewer pages to find: 1.1 times faster. Where there are no such pages, it does without.
  if (page == kHugePage) madvise(tiles_.get(), bytes, MADV_HUGEPAGE);
  struct Packing {
    TiledMatrix& to;
    const float* values;
  } packing{*this, values};
  const auto pack = [](void* context, int64_t index) {
    const Packing& p = *static_cast<Packing*>(context);
    const TiledMatrix& b = p.to;
    uint16_t* const to = b.tiles_.get() + index * BlockWords(b.depth_, b.pieces_);
    auto* const panel = b.pieces_ == 2 ? &PackPanel<2> : &PackPanel<3>;
    panel(p.values, b.depth_, b.columns_, index, to);
  };
  parallel.Run(Blocks(columns), pack, &packing);
}

const uint16_t* TiledMatrix::panel(int64_t panel) const {
  return tiles_.get() + panel * BlockWords(depth_, pieces_);
}

void TiledMatrix::Free::operator()(uint16_t* memory) const { std::free(memory); }

size_t TiledProductWorkspaceSize(int64_t rows, const TiledMatrix& b) {
  const auto size = [&](int64_t count) {
    const bool once = PlanPasses(count, b.depth(), b.pieces()).parts == 1;
    const int64_t sums = once ? 0 : Blocks(b.columns()) * kBlock * kBlock;
    return static_cast<size_t>(Blocks(count)) *
           (static_cast<size_t>(BlockWords(b.depth(), b.pieces())) * sizeof(uint16_t) +
            static_cast<size_t>(sums) * sizeof(float));
  };
  const int64_t most = RowsAtOnce(rows);
  return std::max(size(std::min(rows, most)), size(rows % most));
}

void TiledProduct(const float* a, int64_t rows, const TiledMatrix& b, float* c, void* workspace,
                  Parallel& parallel) {
  if (rows == 0 || b.columns() == 0) return;
  if (b.depth() == 0) {
    std::fill_n(c, rows * b.columns(), 0.0f);
    return;
  }
  const int64_t most = RowsAtOnce(rows);
  for (int64_t row = 0; row < rows; row += most) {
    const int64_t count = std::min(rows - row, most);
    const float* const from = a + row * b.depth();
    float* const to = c + row * b.columns();
    if (b.pieces() == 2) {
      Call<2>(from, count, b, to, workspace).Run(parallel);
    } else {
      Call<3>(from, count, b, to, workspace).Run(parallel);
    }
  }
}

}  // namespace g4v::kernels

#endif  // G4V_AMX
