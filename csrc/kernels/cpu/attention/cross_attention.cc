#include <algorithm>
#include <iterator>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/simd/targets.h"

namespace g4v::kernels {

const char* Name(CpuVersion version) {
  switch (version) {
    case CpuVersion::kAmx:
      return "amx";
    case CpuVersion::kAvx512:
      return "avx512";
    case CpuVersion::kAvx2:
      return "avx2";
    case CpuVersion::kPlain:
      break;
  }
  return "plain";
}

#ifdef G4V_X86

bool Available(CpuVersion version) {
  // These also ask whether the operating system saves the registers.
  switch (version) {
    case CpuVersion::kAmx:
#ifdef G4V_AMX
      return Available(CpuVersion::kAvx512) && AmxAvailable();
#else
      return false;
#endif
    case CpuVersion::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    case CpuVersion::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("f16c");
    case CpuVersion::kPlain:
      break;
  }
  return true;
}

size_t CpuWorkspaceSize(const CrossAttentionParams& params, int threads, CpuVersion version) {
  switch (version) {
    case CpuVersion::kAmx:
#ifdef G4V_AMX
      return AmxWorkspaceSize(params, threads);
#endif
    case CpuVersion::kAvx512:
      return Avx512WorkspaceSize(params, threads);
    case CpuVersion::kAvx2:
      return Avx2WorkspaceSize(params, threads);
    case CpuVersion::kPlain:
      break;
  }
  return 0;
}

void CrossAttentionCpu(const CrossAttentionParams& params, void* workspace, Parallel& parallel,
                       CpuVersion version) {
  switch (version) {
    case CpuVersion::kAmx:
#ifdef G4V_AMX
      return CrossAttentionAmx(params, workspace, parallel);
#endif
    case CpuVersion::kAvx512:
      return CrossAttentionAvx512(params, workspace, parallel);
    case CpuVersion::kAvx2:
      return CrossAttentionAvx2(params, workspace, parallel);
    case CpuVersion::kPlain:
      return CrossAttentionPlain(params, parallel);
  }
}

#else  // another processor

bool Available(CpuVersion version) { return version == CpuVersion::kPlain; }

size_t CpuWorkspaceSize(const CrossAttentionParams&, int, CpuVersion) { return 0; }

void CrossAttentionCpu(const CrossAttentionParams& params, void*, Parallel& parallel, CpuVersion) {
  CrossAttentionPlain(params, parallel);
}

#endif

CpuVersion BestCpuVersion() {
  static const CpuVersion best =
      *std::find_if(std::begin(kCpuVersions), std::end(kCpuVersions), &Available);
  return best;
}

}  // namespace g4v::kernels
