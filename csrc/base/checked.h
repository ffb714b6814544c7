// Sums and products of sizes that come from outside: from a graph, a manifest or a caller. Nothing
// where the result does not fit, so that a check against a limit cannot be passed by wrapping
// round.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace g4v {

inline std::optional<int64_t> CheckedAdd(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

inline std::optional<int64_t> CheckedMultiply(int64_t a, int64_t b) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// Bytes that a tensor of these sizes spans. A size of 0 counts as 1, so that every stride and every
// product of some of the sizes fits too. Nothing where a size is negative.
inline std::optional<int64_t> CheckedBytes(std::span<const int64_t> sizes, int64_t element_bytes) {
  std::optional<int64_t> bytes = element_bytes;
  for (const int64_t size : sizes) {
    if (size < 0) return std::nullopt;
    if (size > 0) bytes = CheckedMultiply(*bytes, size);
    if (!bytes) return std::nullopt;
  }
  return bytes;
}

}  // namespace g4v
