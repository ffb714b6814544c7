// Only what lies between the pragmas may use the instructions: an inline function of a header that
// was compiled with them could be the copy that the linker keeps for everybody.
#include "kernels/tiled_product.h"

#include "kernels/cpu/versions.h"

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
// Rows of A whose tiles stay in a level-2 cache while all of B passes by.
constexpr int64_t kChunkBytes = 9 << 17;
// Steps of a part: a deeper product is made part by part, each over all of C, so that four blocks
// of a part stay in that cache. By the depth alone, so that a row's bits depend on nothing else.
constexpr int64_t kMostSteps = 48;
// As many blocks of A with one panel of B leave the time to ask for the next panel: 1.1 times
// faster. With fewer, asking takes from the loads that wait.
constexpr int64_t kManyBlocks = 8;
// A result that is larger is not brought into the caches to be written: 1.2 times faster in whole.
constexpr int64_t kStreamBytes = 4 << 20;
constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = 2 << 20;

int64_t Blocks(int64_t count) { return (count + kBlock - 1) / kBlock; }

// 16-bit values of 32 rows of A, or of 32 columns of B.
int64_t BlockWords(int64_t depth, int pieces) { return Blocks(depth) * pieces * kPieceWords; }

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

#include "kernels/cpu/tile_products.h"

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

// Asks for memory, a few lines at a time.
class Prefetch {
 public:
  Prefetch(const uint16_t* first, int64_t words, int64_t times)
      : next_(reinterpret_cast<const char*>(first)),
        end_(next_ + words * static_cast<int64_t>(sizeof(uint16_t))),
        each_((end_ - next_) / times / kLine * kLine + kLine) {}

  void operator()() {
    for (const char* until = std::min(next_ + each_, end_); next_ < until; next_ += kLine) {
      _mm_prefetch(next_, _MM_HINT_T1);
    }
  }

 private:
  static constexpr int64_t kLine = 64;
  const char* next_;
  const char* end_;
  int64_t each_;
};

// R * 16 x 32 values of C, as tiles [R][2][16][16].
template <int R, int kPieces>
inline void Sums(const uint16_t* a, const uint16_t* b, int64_t steps, float* sums,
                 Prefetch& prefetch) {
  Fence();
  ClearSums<R, 2>();
  for (int64_t i = 0; i < steps; ++i, a += kPieces * kPieceWords, b += kPieces * kPieceWords) {
    prefetch();
    Products<R, 2, kPieces>({{a, a + kTileWords}, 64, kPieceWords}, b);
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
    parts_ = (steps_ + kMostSteps - 1) / kMostSteps;
    blocks_ = Blocks(rows);
    const int64_t most = std::max<int64_t>(1, kChunkBytes * parts_ / (2 * block_words_));
    chunks_ = (blocks_ + most - 1) / most;
    panels_ = Blocks(b.columns());
    const int64_t bytes = rows * b.columns() * static_cast<int64_t>(sizeof(float));
    stream_ = parts_ == 1 && bytes >= kStreamBytes && b.columns() % kBlock == 0 &&
              reinterpret_cast<uintptr_t>(c) % kAlignment == 0;
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
      const bool more = next < chunks_ * panels_ && end - first >= kManyBlocks;
      Prefetch prefetch(b_.panel(more ? next % panels_ : 0) + skip,
                        more ? steps * kPieces * kPieceWords : 0, (end - first) * steps);
      for (int64_t block = first; block < end; ++block) {
        alignas(64) float sums[kBlock * kBlock];
        const uint16_t* a = tiles_ + block * block_words_ + skip;
        if (rows_ - block * kBlock > kTile) {
          Sums<2, kPieces>(a, b, steps, sums, prefetch);
        } else {  // a frame of 257 rows ends so
          Sums<1, kPieces>(a, b, steps, sums, prefetch);
        }
        Write(sums, block * kBlock, i % panels_ * kBlock);
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
      __m512 low = _mm512_load_ps(at);
      __m512 high = _mm512_load_ps(at + kTile * kTile);
      if (part_ > 0) {
        low = _mm512_add_ps(low, _mm512_maskz_loadu_ps(Lanes(left), to));
        high = _mm512_add_ps(high, _mm512_maskz_loadu_ps(Lanes(left - kTile), to + kTile));
      }
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
  int64_t block_words_;
  int64_t steps_;   // of 32 values of depth
  int64_t parts_;   // of the depth
  int64_t blocks_;  // of 32 rows
  int64_t chunks_;
  int64_t panels_;
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
  return static_cast<size_t>(Blocks(rows) * BlockWords(b.depth(), b.pieces())) * sizeof(uint16_t);
}

void TiledProduct(const float* a, int64_t rows, const TiledMatrix& b, float* c, void* workspace,
                  Parallel& parallel) {
  if (rows == 0 || b.columns() == 0) return;
  if (b.depth() == 0) {
    std::fill_n(c, rows * b.columns(), 0.0f);
    return;
  }
  if (b.pieces() == 2) return Call<2>(a, rows, b, c, workspace).Run(parallel);
  Call<3>(a, rows, b, c, workspace).Run(parallel);
}

}  // namespace g4v::kernels

#endif  // G4V_AMX
