#include "kernels/cpu/gemm/gemm_amx.h"

#ifdef G4V_AMX

#include <immintrin.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/gemm/gemm_plan.h"
#include "kernels/cpu/gemm/micro_kernel_amx.h"
#include "kernels/cpu/gemm/packing_amx.h"

namespace g4v::kernels {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = 2 << 20;

}  // namespace
}  // namespace g4v::kernels

G4V_PUSH_TARGET(G4V_AMX_FEATURES)
namespace g4v::kernels::amx {

// Prefetches memory one cache line at a time, evenly over `calls` calls. A core can have some 16
// requests under way, and the tiles' loads from the level-2 cache wait among them: an even rate is
// 1.1 times faster than a few lines at once, and that is 1.1 times faster than no prefetch.
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
template <int R, int kTerms>
inline void MultiplyBlock(const uint16_t* a, const uint16_t* b, int64_t steps, bool more,
                          float* sums, Prefetch& prefetch) {
  Fence();
  if (more) {
    LoadSums<R, 2>(sums, 64, kTile * kTile, 2 * kTile * kTile);
  } else {
    ClearSums<R, 2>();
  }
  for (int64_t i = 0; i < steps; ++i, a += kTerms * kTermWords, b += kTerms * kTermWords) {
    Products<R, 2, kTerms>({{a, a + kTileWords}, 64, kTermWords}, b, prefetch);
  }
  StoreSums<R, 2>(sums, 64, kTile * kTile, 2 * kTile * kTile);
  Fence();
}

template <int kTerms>
class GemmCall {
 public:
  GemmCall(const float* a, int64_t rows, const PackedMatrix& b, float* c, void* workspace)
      : a_(a), rows_(rows), b_(b), c_(c), tiles_(static_cast<uint16_t*>(workspace)) {
    block_words_ = BlockWords(b.depth(), kTerms);
    steps_ = Blocks(b.depth());
    const Passes passes = PlanPasses(rows, b.depth(), kTerms);
    parts_ = passes.parts;
    chunks_ = passes.chunks;
    blocks_ = Blocks(rows);
    panels_ = Blocks(b.columns());
    sums_ = reinterpret_cast<float*>(tiles_ + blocks_ * block_words_);
    stream_ = b.columns() % kBlock == 0 && reinterpret_cast<uintptr_t>(c) % kAlignment == 0;
  }

  void Run(Parallel& parallel) {
    const auto pack = [](void* context, int64_t block) {
      const GemmCall& call = *static_cast<GemmCall*>(context);
      PackRows<kTerms>(call.a_, call.rows_, call.b_.depth(), block,
                       call.tiles_ + block * call.block_words_);
    };
    parallel.Run(blocks_, pack, this);
    const auto work = [](void* context, int64_t) { static_cast<GemmCall*>(context)->Work(); };
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
    const int64_t skip = first_step * kTerms * kTermWords;
    for (int64_t i = Take(), next; i < chunks_ * panels_; i = next) {
      next = Take();
      const int64_t chunk = i / panels_;
      const uint16_t* b = b_.panel(i % panels_) + skip;
      const int64_t first = blocks_ * chunk / chunks_;
      const int64_t end = blocks_ * (chunk + 1) / chunks_;
      const int64_t tiles = std::min(2 * end, DivideUp(rows_, kTile)) - 2 * first;
      const bool more = next < chunks_ * panels_;
      Prefetch prefetch(b_.panel(more ? next % panels_ : 0) + skip,
                        more ? steps * kTerms * kTermWords : 0,
                        2 * tiles * steps * kTermProducts<kTerms>);
      for (int64_t block = first; block < end; ++block) {
        alignas(64) float whole[kBlock * kBlock];
        float* const sums =
            parts_ == 1 ? whole : sums_ + (block * panels_ + i % panels_) * kBlock * kBlock;
        const uint16_t* a = tiles_ + block * block_words_ + skip;
        if (rows_ - block * kBlock > kTile) {
          MultiplyBlock<2, kTerms>(a, b, steps, part_ > 0, sums, prefetch);
        } else {  // a frame of 257 rows ends so
          MultiplyBlock<1, kTerms>(a, b, steps, part_ > 0, sums, prefetch);
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
  const PackedMatrix& b_;
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

}  // namespace g4v::kernels::amx
G4V_POP_TARGET

namespace g4v::kernels {

bool GemmAmxChosen() { return ChosenIsa() == Isa::kAmx; }

PackedMatrix::PackedMatrix(const float* values, int64_t depth, int64_t columns, int terms,
                           Parallel& parallel)
    : depth_(depth), columns_(columns), terms_(terms) {
  const auto words = static_cast<size_t>(Blocks(columns) * BlockWords(depth, terms));
  const size_t bytes = words * sizeof(uint16_t);
  const size_t page = bytes < kHugePage ? kAlignment : kHugePage;
  tiles_.reset(static_cast<uint16_t*>(std::aligned_alloc(page, (bytes + page - 1) / page * page)));
  if (!tiles_ && bytes > 0) throw std::bad_alloc();
  // Huge pages, fewer of which must be looked up: 1.1 times faster. Where the system has none, the
  // call fails and all works without.
  if (page == kHugePage) madvise(tiles_.get(), bytes, MADV_HUGEPAGE);
  struct Packing {
    PackedMatrix& to;
    const float* values;
  } packing{*this, values};
  const auto pack = [](void* context, int64_t index) {
    const Packing& p = *static_cast<Packing*>(context);
    const PackedMatrix& b = p.to;
    uint16_t* const to = b.tiles_.get() + index * BlockWords(b.depth_, b.terms_);
    auto* const panel = b.terms_ == 2 ? &amx::PackPanel<2> : &amx::PackPanel<3>;
    panel(p.values, b.depth_, b.columns_, index, to);
  };
  parallel.Run(Blocks(columns), pack, &packing);
}

const uint16_t* PackedMatrix::panel(int64_t panel) const {
  return tiles_.get() + panel * BlockWords(depth_, terms_);
}

void PackedMatrix::Free::operator()(uint16_t* memory) const { std::free(memory); }

size_t GemmAmxWorkspaceSize(int64_t rows, const PackedMatrix& b) {
  const auto bytes = [&](int64_t count) {
    return GemmScratchBytes(count, b.depth(), b.columns(), b.terms());
  };
  const int64_t most = RowsAtOnce(rows);
  return std::max(bytes(std::min(rows, most)), bytes(rows % most));
}

void GemmAmx(const float* a, int64_t rows, const PackedMatrix& b, float* c, void* workspace,
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
    if (b.terms() == 2) {
      amx::GemmCall<2>(from, count, b, to, workspace).Run(parallel);
    } else {
      amx::GemmCall<3>(from, count, b, to, workspace).Run(parallel);
    }
  }
}

}  // namespace g4v::kernels

#endif  // G4V_AMX
