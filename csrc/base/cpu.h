// How many cores this process may use.
#pragma once

namespace g4v {

// Physical cores that this process may use: its affinity mask, one thread of each core, and the
// container's CPU quota. At least 1.
int UsableCores();

}  // namespace g4v
