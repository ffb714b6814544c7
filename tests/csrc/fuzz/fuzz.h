// What the fuzz targets share: the bytes of an input as typed values, and the oracles.
//
// A target is LLVMFuzzerTestOneInput, as libFuzzer calls it; driver.cc calls it where there is no
// libFuzzer. A finding is an abort, or a report of a sanitizer.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/error.h"

namespace g4v::fuzz {

// Ends the process with a message where a promise of the product does not hold.
inline void Require(bool holds, const std::string& promise) {
  if (holds) return;
  std::fprintf(stderr, "FINDING: %s\n", promise.c_str());
  std::abort();
}

// Runs `action`. True where it returned, false where it threw g4v::Error with one of the codes and
// a message of one line. Everything else is a finding.
template <class Action>
bool Accepts(std::initializer_list<Code> codes, Action&& action) {
  try {
    action();
    return true;
  } catch (const Error& error) {
    bool expected = false;
    for (const Code code : codes) expected = expected || code == error.code();
    Require(expected, std::string("an error of the wrong kind: ") + error.what());
    const std::string_view message = error.what();
    Require(!message.empty() && message.find('\n') == message.npos, "a message is one line");
    return false;
  }
}

// The bytes of an input, taken from the front; zeros once they are used up.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : left_(reinterpret_cast<const char*>(data), size) {}

  template <class Number>
  Number Take() {
    Number value{};
    const size_t size = left_.size() < sizeof value ? left_.size() : sizeof value;
    std::memcpy(&value, left_.data(), size);
    left_.remove_prefix(size);
    return value;
  }
  bool Coin() { return Take<uint8_t>() % 2 == 1; }
  // From `least` to `most`, of one byte, or of two where the range is wider.
  int64_t From(int64_t least, int64_t most) {
    const int64_t count = most - least + 1;
    return least + (count <= 256 ? Take<uint8_t>() : Take<uint16_t>()) % count;
  }
  // Up to the next zero byte, or to the end.
  std::string Text() {
    const std::string text(left_.substr(0, left_.find('\0')));
    left_.remove_prefix(text.size() < left_.size() ? text.size() + 1 : text.size());
    return text;
  }
  std::string_view Rest() const { return left_; }
  bool empty() const { return left_.empty(); }

 private:
  std::string_view left_;
};

// A file in memory that holds these bytes; `path` opens it.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : file_(memfd_create("fuzz", 0)) {
    Require(file_ >= 0, "a file in memory can be made");
    const ssize_t written = write(file_, bytes.data(), bytes.size());
    Require(written == static_cast<ssize_t>(bytes.size()), "a file in memory can be written");
  }
  ~MemoryFile() { close(file_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(file_); }

 private:
  int file_;
};

}  // namespace g4v::fuzz
