// Small functions that the files of Forward share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/cpu/llama/paged_attention.h"
#include "kernels/cpu/team.h"

namespace g4v {

inline int64_t Pages(int64_t tokens) {
  return (tokens + kernels::kPageTokens - 1) / kernels::kPageTokens;
}

template <class T>
void Grow(std::vector<T>& buffer, int64_t size) {
  if (buffer.size() < static_cast<size_t>(size)) buffer.resize(static_cast<size_t>(size));
}

// Calls run(i, first, last) for the parts that `share` has of consecutive ranges: range i has
// size(i) items.
template <class Size, class Run>
void ForParts(kernels::Share share, size_t ranges, const Size& size, Run&& run) {
  int64_t start = 0;
  for (size_t i = 0; i < ranges && start < share.last; ++i) {
    const int64_t end = start + size(i);
    if (end > share.first) {
      run(i, std::max(share.first, start) - start, std::min(share.last, end) - start);
    }
    start = end;
  }
}

}  // namespace g4v
