#include "kernels/cpu/simd/amx.h"

#ifdef G4V_AMX

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/process.h"

namespace g4v::kernels {
namespace {

// Linux saves the tiles' registers for a process only after it asked, once for all its threads. It
// refuses if a signal stack is too small for them.
bool RequestTiles() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool SystemSavesTiles() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  constexpr unsigned kSaves = 1u << 27;  // OSXSAVE: XCR0 can be read
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & kSaves)) return false;
  unsigned low = 0;
  unsigned high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr unsigned kTiles = 3u << 17;  // XTILECFG and XTILEDATA
  return (low & kTiles) == kTiles;
}

bool ProcessorHasTiles() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  constexpr unsigned kBFloat16 = 1u << 22;
  constexpr unsigned kTiles = 1u << 24;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & kBFloat16) || !(d & kTiles)) return false;
  constexpr unsigned kToBFloat16 = 1u << 5;  // AVX512_BF16
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & kToBFloat16);
}

bool ProcessorHasInt8() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  constexpr unsigned kInt8 = 1u << 25;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kInt8) &&
         __builtin_cpu_supports("avx512vnni");
}

}  // namespace

bool AmxAvailable() {
  return MadeOnce([] { return ProcessorHasTiles() && SystemSavesTiles() && RequestTiles(); });
}

bool AmxInt8Available() {
  return MadeOnce([] { return AmxAvailable() && ProcessorHasInt8(); });
}

}  // namespace g4v::kernels

#endif  // G4V_AMX
