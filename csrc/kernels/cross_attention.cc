#include "kernels/cross_attention.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace g4v::kernels {

const char* CheckCrossAttention(const CrossAttentionParams& p) {
  if (p.batch < 0 || p.heads < 0 || p.queries < 0 || p.own_rows < 0 || p.memory_rows < 0) {
    return "sizes must be at least 0";
  }
  if (std::find(std::begin(kHeadSizes), std::end(kHeadSizes), p.head_size) ==
      std::end(kHeadSizes)) {
    return "head_size must be 32, 64, 80, 96 or 128";
  }
  if (!std::isfinite(p.scale)) return "scale must be finite";
  // Nothing is read or written; the product of the others may be larger than any number.
  if (p.batch == 0 || p.heads == 0 || p.queries == 0) return nullptr;
  if (!p.out.data || !p.q.data) return "q and out must not be null";
  if (p.own_rows > 0 && (!p.k_own.data || !p.v_own.data)) {
    return "k_own and v_own must not be null where own_rows is above 0";
  }
  if (p.memory_rows > 0 && (!p.k_mem.data || !p.v_mem.data)) {
    return "k_mem and v_mem must not be null where memory_rows is above 0";
  }
  return nullptr;
}

}  // namespace g4v::kernels
