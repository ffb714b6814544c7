// How much memory this process may still take.
#pragma once

#include <cstdint>
#include <optional>

namespace g4v {

// Bytes that can be allocated before the system, the control group or the process's own limit
// (RLIMIT_AS) refuses, or ends the process; nothing where none of them can be asked. Memory that
// holds cached files counts as free.
std::optional<uint64_t> AvailableMemory();

}  // namespace g4v
