// Finds which of many strings a text begins with.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace g4v {

// Strings with numbers, in the order of their bytes: those that begin alike are neighbours, and each
// byte of a text narrows the range of those that still fit.
class PrefixIndex {
 public:
  // The strings are not empty and must outlive the index.
  explicit PrefixIndex(std::vector<std::pair<std::string_view, int32_t>> strings = {})
      : strings_(std::move(strings)) {
    std::sort(strings_.begin(), strings_.end());
    for (const auto& [string, number] : strings_) ++starts_[Byte(string[0]) + 1];
    for (size_t byte = 0; byte < 256; ++byte) starts_[byte + 1] += starts_[byte];
  }

  bool empty() const { return strings_.empty(); }

  // Calls found(length, number) with each string that `text` begins with, the shortest first.
  // O(longest string * log(strings)).
  template <class Found>
  void ForEachPrefix(std::string_view text, const Found& found) const {
    if (text.empty()) return;
    auto low = strings_.begin() + starts_[Byte(text[0])];
    auto high = strings_.begin() + starts_[Byte(text[0]) + 1];
    for (size_t length = 1; low != high; ++length) {
      if (low->first.size() == length) {
        found(length, low->second);
        ++low;
      }
      if (length == text.size()) return;
      const unsigned byte = Byte(text[length]);
      low = std::partition_point(
          low, high, [&](const auto& entry) { return Byte(entry.first[length]) < byte; });
      high = std::partition_point(
          low, high, [&](const auto& entry) { return Byte(entry.first[length]) == byte; });
    }
  }

 private:
  static unsigned Byte(char c) { return static_cast<unsigned char>(c); }

  std::vector<std::pair<std::string_view, int32_t>> strings_;
  std::array<std::ptrdiff_t, 257> starts_{};  // by first byte
};

}  // namespace g4v
