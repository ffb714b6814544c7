// Byte-pair merges: the part that all tokenizers here share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace g4v {

// Rank and result of every merge, by the pair of ids that it joins.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank;  // lower ranks merge first
    int32_t id;     // of the joined token
  };

  explicit MergeTable(size_t merges = 0);

  // A pair that is inserted again takes the later rank, as in Hugging Face's map.
  void Insert(int32_t left, int32_t right, Merge merge);

  // The merge of a pair, or nullptr.
  const Merge* Find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t key;
    Merge merge;
  };
  size_t SlotOf(uint64_t key) const;

  std::vector<Slot> slots_;  // open addressing; the size is a power of two, at most half full
};

// Joins neighbouring ids, lowest rank first and leftmost among equals, until no pair of neighbours
// merges. O(n log n) for n ids.
void ApplyMerges(const MergeTable& merges, std::vector<int32_t>* ids);

}  // namespace g4v
