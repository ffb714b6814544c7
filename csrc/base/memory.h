// How much memory this process may still take, and what it gives back.
#pragma once

#include <cstdint>
#include <optional>

namespace g4v {

// Bytes that can be allocated before the system, the control group or the process's own limit
// (RLIMIT_AS) refuses, or ends the process; nothing where none of them can be asked. Memory that
// holds cached files counts as free.
std::optional<uint64_t> AvailableMemory();

// Gives the system back what the C library keeps of memory that was freed: glibc keeps it for each
// thread that took some, and the sessions of a bundle are made on threads that end. Takes some
// milliseconds; for the end of large things. Does nothing with other C libraries.
void ReturnFreedMemory() noexcept;

}  // namespace g4v
