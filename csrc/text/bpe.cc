#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace g4v {
namespace {

constexpr uint64_t kEmpty = UINT64_MAX;  // no pair: ids are not negative
constexpr int32_t kRemoved = -1;

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

struct Symbol {
  int32_t id;
  int32_t previous;  // -1: none
  int32_t next;      // -1: none
};

struct Candidate {
  uint64_t order;  // rank << 32 | position: the heap's order
  int32_t id;      // of the joined token
  bool operator>(const Candidate& other) const { return order > other.order; }
};

}  // namespace

MergeTable::MergeTable(size_t merges)
    : slots_(std::bit_ceil(std::max<size_t>(2 * merges, 2)), Slot{kEmpty, {}}) {}

size_t MergeTable::SlotOf(uint64_t key) const {
  uint64_t hash = key * 0x9E3779B97F4A7C15u;
  hash ^= hash >> 32;
  hash *= 0xD6E8FEB86659FD93u;
  size_t slot = (hash >> 16) & (slots_.size() - 1);
  while (slots_[slot].key != kEmpty && slots_[slot].key != key) {
    slot = (slot + 1) & (slots_.size() - 1);
  }
  return slot;
}

void MergeTable::Insert(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = PairKey(left, right);
  slots_[SlotOf(key)] = {key, merge};
}

const MergeTable::Merge* MergeTable::Find(int32_t left, int32_t right) const {
  const Slot& slot = slots_[SlotOf(PairKey(left, right))];
  return slot.key == kEmpty ? nullptr : &slot.merge;
}

void ApplyMerges(const MergeTable& merges, std::vector<int32_t>* ids) {
  const auto size = static_cast<int32_t>(ids->size());
  if (size < 2) return;
  std::vector<Symbol> symbols(ids->size());
  std::vector<Candidate> found;
  const auto candidate = [&](int32_t position, int32_t left, int32_t right) {
    const MergeTable::Merge* merge = merges.Find(left, right);
    if (merge == nullptr) return false;
    const uint64_t order =
        static_cast<uint64_t>(merge->rank) << 32 | static_cast<uint32_t>(position);
    found.push_back({order, merge->id});
    return true;
  };
  for (int32_t i = 0; i < size; ++i) {
    symbols[i] = {(*ids)[i], i - 1, i + 1 < size ? i + 1 : -1};
    if (i > 0) candidate(i - 1, (*ids)[i - 1], (*ids)[i]);
  }
  std::make_heap(found.begin(), found.end(), std::greater<>());

  while (!found.empty()) {
    std::pop_heap(found.begin(), found.end(), std::greater<>());
    const Candidate top = found.back();
    found.pop_back();
    const auto position = static_cast<int32_t>(top.order & 0xFFFFFFFF);
    Symbol& left = symbols[position];
    if (left.id == kRemoved || left.next < 0) continue;
    const Symbol right = symbols[left.next];
    // The entry is stale unless the pair now at this place gives the same token. The rank is not
    // compared: another pair with the same result is merged at the old entry's turn. Hugging Face
    // does so, and equal output needs it.
    const MergeTable::Merge* now = merges.Find(left.id, right.id);
    if (now == nullptr || now->id != top.id) continue;

    symbols[left.next].id = kRemoved;
    left.id = top.id;
    left.next = right.next;
    if (right.next >= 0) symbols[right.next].previous = position;
    if (left.previous >= 0 && candidate(left.previous, symbols[left.previous].id, left.id)) {
      std::push_heap(found.begin(), found.end(), std::greater<>());
    }
    if (left.next >= 0 && candidate(position, left.id, symbols[left.next].id)) {
      std::push_heap(found.begin(), found.end(), std::greater<>());
    }
  }
  ids->clear();
  for (const Symbol& symbol : symbols) {
    if (symbol.id != kRemoved) ids->push_back(symbol.id);
  }
}

}  // namespace g4v
