// The few lines of test framework that the C++ tests need: CHECK(condition),
// CHECK_THROWS(expression, code, part of the message) and main's return value. A failed check
// prints its place and the test goes on.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <iostream>
#include <string>
#include <vector>

#include "base/error.h"

namespace g4v::test {

inline std::atomic<int> failures = 0;
inline std::atomic<int> checks = 0;

constexpr int kSkip = 77;  // what ctest shows as "Skipped"

inline void Report(bool ok, const char* file, int line, const std::string& text) {
  ++checks;
  if (ok) return;
  ++failures;
  std::cerr << file << ":" << line << ": failed: " << text << "\n";
}

// The sizes that a kernel is tried with. ThreadSanitizer makes plain loops 50 times slower; it watches
// how work is divided among threads, for which the least and the largest size will do.
inline std::vector<int64_t> Sizes(std::initializer_list<int64_t> all) {
#if defined(__SANITIZE_THREAD__)
  return {*all.begin(), *(all.end() - 1)};
#else
  return all;
#endif
}

inline int Finish() {
  std::cerr << checks << " checks, " << failures << " failures\n";
  return failures == 0 && checks > 0 ? 0 : 1;
}

}  // namespace g4v::test

#define CHECK(condition) \
  ::g4v::test::Report(static_cast<bool>(condition), __FILE__, __LINE__, #condition)

// `part` must be found in the message of the g4v::Error with code `wanted` that the expression
// throws.
#define CHECK_THROWS(expression, wanted, part)                                          \
  do {                                                                                  \
    std::string outcome = "nothing was thrown";                                         \
    bool matches = false;                                                               \
    try {                                                                               \
      (void)(expression);                                                               \
    } catch (const ::g4v::Error& error) {                                               \
      outcome = error.what();                                                           \
      matches = error.code() == (wanted) && outcome.find(part) != std::string::npos;    \
    }                                                                                   \
    ::g4v::test::Report(matches, __FILE__, __LINE__, #expression " threw: " + outcome); \
  } while (false)
