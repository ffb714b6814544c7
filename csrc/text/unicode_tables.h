// Layout of the generated tables in unicode_tables.cc; use them through unicode.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace g4v {

// Sorted `start << 4 | class bits` (CharClass in unicode.h), each valid up to the next start.
extern const uint32_t kClassRanges[];
extern const size_t kClassRangesSize;

// Sorted `start << 8 | canonical combining class`, each valid up to the next start.
extern const uint32_t kCombiningRanges[];
extern const size_t kCombiningRangesSize;

// Sorted `code << 43 | first << 22 | second << 1 | composes`: canonical decomposition into one or
// two code points (second is 0 for one), and whether the two compose to the code again. Hangul
// syllables are computed instead.
extern const uint64_t kDecompositions[];
extern const size_t kDecompositionsSize;

// Sorted `start << 43 | count << 30 | step << 28 | distance + 2^20`: `count` code points from
// `start`, every `step`-th one, whose lower case is `distance` away.
extern const uint64_t kLowercaseRuns[];
extern const size_t kLowercaseRunsSize;

}  // namespace g4v
