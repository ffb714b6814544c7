#pragma once

#include <cstdint>

namespace g4v::kernels {

// value / by rounded up, for value >= 0 and by > 0.
constexpr int64_t DivideUp(int64_t value, int64_t by) { return (value + by - 1) / by; }

}  // namespace g4v::kernels
