#include "text/unicode.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/process.h"
#include "base/utf8.h"
#include "text/unicode_tables.h"

namespace g4v {
namespace {

// Hangul syllables are composed by arithmetic (The Unicode Standard, section 3.12).
constexpr char32_t kSBase = 0xAC00, kLBase = 0x1100, kVBase = 0x1161, kTBase = 0x11A7;
constexpr char32_t kLCount = 19, kVCount = 21, kTCount = 28;
constexpr char32_t kSCount = kLCount * kVCount * kTCount;

// Nothing below this code point decomposes into what could compose otherwise, or reorders.
constexpr char32_t kFirstCombining = 0x300;

template <typename Entry>
const Entry* LastNotAfter(const Entry* table, size_t size, Entry key) {
  return std::upper_bound(table, table + size, key) - 1;
}

std::array<uint8_t, 128> MakeAsciiClasses() {
  std::array<uint8_t, 128> classes{};
  for (uint32_t c = 0; c < 128; ++c) {
    classes[c] = *LastNotAfter(kClassRanges, kClassRangesSize, c << 4 | 0xF) & 0xF;
  }
  return classes;
}

uint8_t CombiningClass(char32_t c) {
  if (c < kFirstCombining) return 0;
  const uint32_t key = static_cast<uint32_t>(c) << 8 | 0xFF;
  return *LastNotAfter(kCombiningRanges, kCombiningRangesSize, key) & 0xFF;
}

void Decompose(char32_t c, std::u32string* out) {
  if (c - kSBase < kSCount) {
    const char32_t index = c - kSBase;
    out->push_back(kLBase + index / (kVCount * kTCount));
    out->push_back(kVBase + index % (kVCount * kTCount) / kTCount);
    if (index % kTCount != 0) out->push_back(kTBase + index % kTCount);
    return;
  }
  const uint64_t* end = kDecompositions + kDecompositionsSize;
  const uint64_t* entry = std::lower_bound(kDecompositions, end, static_cast<uint64_t>(c) << 43);
  if (entry == end || *entry >> 43 != c) {
    out->push_back(c);
    return;
  }
  Decompose(*entry >> 22 & 0x1FFFFF, out);
  if (const char32_t second = *entry >> 1 & 0x1FFFFF) out->push_back(second);
}

// The composite of two code points, or 0.
char32_t Compose(char32_t a, char32_t b) {
  if (a - kLBase < kLCount && b - kVBase < kVCount) {
    return kSBase + ((a - kLBase) * kVCount + (b - kVBase)) * kTCount;
  }
  if (a - kSBase < kSCount && (a - kSBase) % kTCount == 0 && b > kTBase && b < kTBase + kTCount) {
    return a + (b - kTBase);
  }
  const auto& pairs = MadeOnce([] {
    std::unordered_map<uint64_t, char32_t> map;
    for (size_t i = 0; i < kDecompositionsSize; ++i) {
      const uint64_t entry = kDecompositions[i];
      if (entry & 1) map.emplace(entry >> 1 & 0x3FFFFFFFFFF, entry >> 43);
    }
    return map;
  });
  const auto found = pairs.find(static_cast<uint64_t>(a) << 21 | b);
  return found == pairs.end() ? 0 : found->second;
}

// Sorts every run of combining marks by class, keeping the order of equals.
void Reorder(std::u32string* text) {
  std::vector<std::pair<uint8_t, char32_t>> run;
  const auto flush = [&](size_t end) {
    std::stable_sort(run.begin(), run.end(),
                     [](const auto& x, const auto& y) { return x.first < y.first; });
    for (size_t i = 0; i < run.size(); ++i) (*text)[end - run.size() + i] = run[i].second;
    run.clear();
  };
  for (size_t i = 0; i < text->size(); ++i) {
    const uint8_t combining = CombiningClass((*text)[i]);
    if (combining == 0) {
      flush(i);
    } else {
      run.emplace_back(combining, (*text)[i]);
    }
  }
  flush(text->size());
}

}  // namespace

uint8_t ClassOf(char32_t c) {
  const std::array<uint8_t, 128>& ascii = MadeOnce([] { return MakeAsciiClasses(); });
  if (c < 128) return ascii[c];
  const uint32_t key = static_cast<uint32_t>(c) << 4 | 0xF;
  return *LastNotAfter(kClassRanges, kClassRangesSize, key) & 0xF;
}

std::u32string DecodeUtf8(std::string_view utf8) {
  if (!IsValidUtf8(utf8)) throw Error(Code::InvalidArgument, "The text is not valid UTF-8.");
  return DecodeValidUtf8(utf8);
}

std::u32string DecodeValidUtf8(std::string_view utf8) {
  std::u32string out;
  out.reserve(utf8.size());
  for (size_t i = 0; i < utf8.size();) {
    const uint8_t lead = static_cast<uint8_t>(utf8[i++]);
    const int more = lead < 0x80 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    char32_t c = more == 0 ? lead : lead & (0x3F >> more);
    for (int k = 0; k < more; ++k) c = c << 6 | (static_cast<uint8_t>(utf8[i++]) & 0x3F);
    out.push_back(c);
  }
  return out;
}

std::u32string NormalizeNfc(std::u32string_view text) {
  if (std::all_of(text.begin(), text.end(), [](char32_t c) { return c < kFirstCombining; })) {
    return std::u32string(text);
  }
  std::u32string whole;
  whole.reserve(text.size() + 8);
  for (char32_t c : text) Decompose(c, &whole);
  Reorder(&whole);

  std::u32string out;
  out.reserve(whole.size());
  size_t starter = std::u32string::npos;  // where in `out` the last starter is
  int last_class = -1;                    // of what follows the starter in `out`; -1: nothing does
  for (char32_t c : whole) {
    const uint8_t combining = CombiningClass(c);
    // A mark is blocked from the starter by a mark of its own or a higher class.
    if (starter != std::u32string::npos && last_class < combining) {
      if (const char32_t composite = Compose(out[starter], c)) {
        out[starter] = composite;
        continue;
      }
    }
    if (combining == 0) {
      starter = out.size();
      last_class = -1;
    } else {
      last_class = combining;
    }
    out.push_back(c);
  }
  return out;
}

std::u32string Lowercase(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (char32_t c : text) {
    if (c < 128) {
      out.push_back(c >= 'A' && c <= 'Z' ? c + 32 : c);
      continue;
    }
    if (c == 0x130) {  // the only lower case of two code points: i with a combining dot
      out += U"i\u0307";
      continue;
    }
    const uint64_t key = static_cast<uint64_t>(c) << 43 | 0x7FFFFFFFFFF;
    const uint64_t run = *LastNotAfter(kLowercaseRuns, kLowercaseRunsSize, key);
    const uint64_t offset = c - (run >> 43), count = run >> 30 & 0x1FFF, step = run >> 28 & 3;
    const bool inside = offset < count * step && offset % step == 0;
    const int64_t distance = static_cast<int64_t>(run & 0xFFFFFFF) - (1 << 20);
    out.push_back(inside ? static_cast<char32_t>(c + distance) : c);
  }
  return out;
}

}  // namespace g4v
