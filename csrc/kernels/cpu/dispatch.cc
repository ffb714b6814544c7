#include "kernels/cpu/dispatch.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string>

#include "base/error.h"
#include "base/process.h"
#include "kernels/cpu/simd/amx.h"
#include "kernels/cpu/simd/targets.h"

#if defined(G4V_NEON) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace g4v::kernels {

const char* Name(Isa isa) {
  switch (isa) {
    case Isa::kAmx:
      return "amx";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kNeon:
      return "neon";
    case Isa::kPlain:
      break;
  }
  return "plain";
}

#ifdef G4V_X86

bool Available(Isa isa) {
  // __builtin_cpu_supports also asks whether the operating system saves the registers.
  switch (isa) {
    case Isa::kAmx:
#ifdef G4V_AMX
      return Available(Isa::kAvx512) && AmxAvailable();
#else
      return false;
#endif
    case Isa::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("f16c");
    case Isa::kNeon:
      return false;
    case Isa::kPlain:
      break;
  }
  return true;
}

#elif defined(G4V_NEON) && defined(__linux__)

bool Available(Isa isa) {
  if (isa == Isa::kNeon) return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  return isa == Isa::kPlain;
}

#else

bool Available(Isa isa) { return isa == Isa::kPlain; }

#endif

namespace {

// "amx, avx512, avx2, plain", or only those that are available.
std::string Names(bool available_only) {
  std::string names;
  for (const Isa isa : kIsas) {
    if (available_only && !Available(isa)) continue;
    names += (names.empty() ? "" : ", ") + std::string(Name(isa));
  }
  return names;
}

}  // namespace

Isa ChooseIsa(const char* wanted, const char* source) {
  const std::string name = wanted ? wanted : "";
  if (name.empty()) return *std::find_if(std::begin(kIsas), std::end(kIsas), &Available);
  for (const Isa isa : kIsas) {
    if (name != Name(isa)) continue;
    if (Available(isa)) return isa;
    throw Error(Code::InvalidArgument, std::string(source) + " is " + name +
                                           ", which this processor does not have; it has " +
                                           Names(true));
  }
  throw Error(Code::InvalidArgument,
              std::string(source) + " must be one of " + Names(false) + ", not \"" + name + "\"");
}

Isa ChosenIsa() {
  return MadeOnce([] { return ChooseIsa(std::getenv("G4V_CPU"), "G4V_CPU"); });
}

}  // namespace g4v::kernels
