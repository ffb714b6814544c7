#include "base/memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace g4v {
namespace {

std::optional<uint64_t> FirstNumber(const std::string& path) {
  std::ifstream file(path);
  uint64_t number = 0;
  if (file >> number) return number;  // a control group without a limit has "max"
  return std::nullopt;
}

// The number behind a name at the start of a line, as in "MemAvailable:   1234 kB".
std::optional<uint64_t> NumberOf(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string first;
    uint64_t number = 0;
    if (words >> first >> number && first == name) return number;
  }
  return std::nullopt;
}

std::optional<uint64_t> OfSystem() {
  const auto kilobytes = NumberOf("/proc/meminfo", "MemAvailable:");
  if (!kilobytes) return std::nullopt;
  return *kilobytes * 1024;
}

// Version 2 of control groups, of which a container sees its own at the root.
std::optional<uint64_t> OfControlGroup() {
  const std::string folder = "/sys/fs/cgroup/";
  const auto most = FirstNumber(folder + "memory.max");
  const auto used = FirstNumber(folder + "memory.current");
  if (!most || !used) return std::nullopt;
  const uint64_t cached = NumberOf(folder + "memory.stat", "file").value_or(0);
  const uint64_t held = *used - std::min(*used, cached);
  return *most - std::min(*most, held);
}

std::optional<uint64_t> OfProcess() {
  rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  const auto pages = FirstNumber("/proc/self/statm");
  if (!pages) return std::nullopt;
  const uint64_t used = *pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return limit.rlim_cur - std::min<uint64_t>(limit.rlim_cur, used);
}

}  // namespace

std::optional<uint64_t> AvailableMemory() {
  std::optional<uint64_t> least;
  for (const auto& each : {OfSystem(), OfControlGroup(), OfProcess()}) {
    if (each && (!least || *each < *least)) least = each;
  }
  return least;
}

void ReturnFreedMemory() noexcept {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace g4v
