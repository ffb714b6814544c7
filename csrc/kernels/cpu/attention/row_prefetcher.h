// Prefetches rows of K and V that are copied later.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/attention/block.h"
#include "kernels/cpu/attention/rows.h"
#include "kernels/cross_attention.h"

namespace g4v::kernels {

// Prefetches keys [key, end) of a block's head, and their values, in at most `calls` calls: evenly,
// but at least `burst` rows in a call as long as there are any. Where a prefetch does not retire
// before its page is found, rows that are asked for one by one wait for one page walk each; those of
// a burst share the wait. A long burst fills the queue of misses, and other loads wait behind it.
class RowPrefetcher {
 public:
  RowPrefetcher(const CrossAttentionParams& p, const Block& block, int64_t key, int64_t end,
                int64_t calls, int64_t burst)
      : p_(p),
        block_(block),
        key_(key),
        rows_(2 * (end - key)),
        each_(std::max(rows_ / calls + 1, burst)) {}

  void operator()() {
    const int64_t bytes = p_.head_size * static_cast<int64_t>(SizeOf(p_.dtype));
    for (const int64_t until = std::min(rows_, asked_ + each_); asked_ < until; ++asked_) {
      const int64_t key = key_ + asked_ / 2;
      const char* row =
          asked_ % 2 ? ValueRow(p_, block_.b, block_.h, key) : KeyRow(p_, block_.b, block_.h, key);
      for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at, 0, 2);
    }
  }

 private:
  const CrossAttentionParams& p_;
  const Block block_;
  const int64_t key_;
  const int64_t rows_;
  const int64_t each_;
  int64_t asked_ = 0;
};

}  // namespace g4v::kernels
