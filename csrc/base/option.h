// Options with defaults and ranges.
#pragma once

#include <cmath>
#include <optional>
#include <sstream>
#include <string>

#include "base/error.h"

namespace g4v {

template <class T>
void Overlay(const std::optional<T>& option, T& value) {
  if (option) value = *option;
}

template <class T>
struct Range {
  T least;
  T most;
  bool above_least = false;  // the least value itself is not allowed
};

// Throws Error(InvalidArgument) "<name> is <value> but must be <least> to <most>". NaN is never in
// range.
template <class T>
void CheckRange(const char* name, T value, Range<T> range) {
  const bool enough = range.above_least ? value > range.least : value >= range.least;
  if (enough && value <= range.most) return;
  std::ostringstream message;
  message << name << " is " << value << " but must be ";
  if (range.above_least) message << "above ";
  message << range.least << (range.above_least ? " and at most " : " to ") << range.most;
  throw Error(Code::InvalidArgument, message.str());
}

}  // namespace g4v
