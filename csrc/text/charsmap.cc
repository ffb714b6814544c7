#include "text/charsmap.h"

#include <algorithm>
#include <array>
#include <optional>

namespace g4v {
namespace {

constexpr size_t kBlock = 256;       // units; the children of a node lie in one block
constexpr uint16_t kMostKey = 1024;  // bytes of a rule, which bound the work for each character
constexpr size_t kMostReplacement = 1024;  // bytes, which bound how much longer a text becomes
constexpr size_t kMostBytes = size_t{1} << 26;

// The fields of a unit of darts-clone.
bool HasLeaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t Value(uint32_t unit) { return unit & 0x7FFFFFFFu; }
uint32_t Label(uint32_t unit) { return unit & 0x800000FFu; }  // of a value it is no byte
uint32_t Offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

int Base64Digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

std::optional<std::string> DecodeBase64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  text.remove_suffix(padding);
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const int digit = Base64Digit(c);
    if (digit < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    bytes += static_cast<char>(bits >> held & 0xFF);
  }
  return bytes;
}

uint32_t ReadUint32(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return value;
}

}  // namespace

CharsMap CharsMap::Read(const JsonCursor& base64) {
  CharsMap map;
  if (base64.AsString().empty()) return map;
  if (base64.AsString().size() > kMostBytes) base64.Fail("is too large");
  const std::optional<std::string> bytes = DecodeBase64(base64.AsString());
  if (!bytes) base64.Fail("is not base64");
  std::string_view rest = *bytes;
  const uint32_t size = rest.size() > 4 ? ReadUint32(rest) : 0;
  if (size == 0 || size % (4 * kBlock) != 0 || rest.size() - 4 <= size) {
    base64.Fail("has a trie of a wrong size");
  }
  rest.remove_prefix(4);
  map.units_.reserve(size / 4);
  for (uint32_t at = 0; at < size; at += 4) map.units_.push_back(ReadUint32(rest.substr(at, 4)));
  map.replacements_ = rest.substr(size);
  map.CheckReplacements(base64);
  map.CheckTrie(base64);
  return map;
}

void CharsMap::CheckReplacements(const JsonCursor& where) const {
  if (replacements_.back() != '\0') where.Fail("has a replacement without an end");
  for (size_t start = 0; start < replacements_.size();) {
    const size_t stop = replacements_.find('\0', start);
    if (stop - start > kMostReplacement) where.Fail("has a replacement that is too long");
    start = stop + 1;
  }
}

// Walks from the root to every node. Nodes may have the same children, whose walk is then not done
// again; their depth below a node is kept to bound the length of keys, and so to refuse loops.
void CharsMap::CheckTrie(const JsonCursor& where) const {
  struct Open {
    uint32_t base;  // its children lie at base ^ byte
    uint32_t next = 0;
    uint16_t depth = 0;
  };
  const auto size = static_cast<uint32_t>(units_.size());
  std::vector<uint16_t> depths(units_.size());  // by base: 0 = not walked, else 1 + depth below it
  const uint32_t root = Offset(units_[0]);
  if (root >= size) where.Fail("has a trie that leads outside itself");
  std::vector<Open> path = {{root}};
  while (!path.empty()) {
    Open& node = path.back();
    if (node.next == kBlock) {
      depths[node.base] = static_cast<uint16_t>(1 + node.depth);
      const uint16_t below = static_cast<uint16_t>(1 + node.depth);
      path.pop_back();
      if (!path.empty()) path.back().depth = std::max(path.back().depth, below);
      continue;
    }
    const uint32_t byte = node.next++;
    const uint32_t at = node.base ^ byte;
    const uint32_t unit = units_[at];
    if (Label(unit) != byte) continue;
    const uint32_t child = at ^ Offset(unit);
    if (child >= size || (HasLeaf(unit) && Value(units_[child]) >= replacements_.size())) {
      where.Fail("has a trie that leads outside itself");
    }
    node.depth = std::max(node.depth, depths[child]);
    if (path.size() + depths[child] > kMostKey) where.Fail("has a rule that is too long");
    if (depths[child] == 0) path.push_back({child});
  }
}

CharsMap::Match CharsMap::Longest(std::string_view text) const {
  Match match;
  if (units_.empty()) return match;
  uint32_t at = Offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    const uint32_t unit = units_[at];
    if (Label(unit) != byte) break;
    at ^= Offset(unit);
    // Up to its zero byte.
    if (HasLeaf(unit)) match = {i + 1, replacements_.data() + Value(units_[at])};
  }
  return match;
}

}  // namespace g4v
