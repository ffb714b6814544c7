// The kernels, compiled for each instruction set, and the choice among them.
#include "kernels/cpu/linear/linear.h"

#include "kernels/cpu/linear/amx_int8_tiles.h"
#include "kernels/cpu/linear/dot_avx2.h"
#include "kernels/cpu/linear/dot_neon.h"
#include "kernels/cpu/linear/dot_plain.h"
#include "kernels/cpu/linear/dot_vnni.h"
#include "kernels/cpu/linear/linear_call.h"
#include "kernels/cpu/simd/amx.h"

#define G4V_KERNEL_FILE "kernels/cpu/linear/linear_simd.h"
#include "kernels/cpu/simd/for_plain_target.h"
#define G4V_KERNEL_FILE "kernels/cpu/linear/linear_simd.h"
#include "kernels/cpu/simd/for_neon_target.h"

#ifdef G4V_X86

#define G4V_TARGET avx2
#define G4V_TARGET_FEATURES G4V_AVX2_FEATURES
#include "kernels/cpu/linear/linear_simd.h"
#undef G4V_TARGET
#undef G4V_TARGET_FEATURES

#ifdef G4V_AVX_VNNI
#define G4V_DPBUSD _mm256_dpbusd_avx_epi32
#define G4V_TARGET avx_vnni
#define G4V_TARGET_FEATURES G4V_AVX_VNNI_FEATURES
#include "kernels/cpu/linear/dot_avx_vnni.h"
#include "kernels/cpu/linear/linear_simd.h"
#undef G4V_DPBUSD
#undef G4V_TARGET
#undef G4V_TARGET_FEATURES
#endif

#define G4V_TARGET vnni
#define G4V_TARGET_FEATURES G4V_VNNI_FEATURES
#include "kernels/cpu/linear/linear_simd.h"
#undef G4V_TARGET_FEATURES

#ifdef G4V_AMX
#define G4V_TARGET_FEATURES G4V_AMX_INT8_FEATURES
#define G4V_TILES AmxInt8Tiles
#include "kernels/cpu/linear/linear_tiles.h"
#undef G4V_TILES
#undef G4V_TARGET_FEATURES
#endif
#undef G4V_TARGET

#endif  // G4V_X86

namespace g4v::kernels {
namespace {

#ifdef G4V_X86

bool HasVnni() { return __builtin_cpu_supports("avx512vnni"); }

#ifdef G4V_AVX_VNNI
bool HasAvxVnni() { return __builtin_cpu_supports("avxvnni"); }
#define G4V_LINEAR_AVX2(function) (HasAvxVnni() ? &avx_vnni::function : &avx2::function)
#else
#define G4V_LINEAR_AVX2(function) (&avx2::function)
#endif

// AVX-512 without VNNI has no advantage over AVX2 here.
#define G4V_LINEAR(isa, function)                                 \
  ((isa) >= Isa::kAvx512 && HasVnni() ? &vnni::function           \
   : (isa) >= Isa::kAvx2              ? G4V_LINEAR_AVX2(function) \
                                      : &plain::function)
#elif defined(G4V_NEON)
#define G4V_LINEAR(isa, function) ((isa) == Isa::kNeon ? &neon::function : &plain::function)
#else
#define G4V_LINEAR(isa, function) ((void)(isa), &plain::function)
#endif

using LinearFunction = void(const LinearCall& call, int64_t first, int64_t last);

LinearFunction* LinearFor(Isa isa) {
#ifdef G4V_AMX
  if (isa == Isa::kAmx && AmxInt8Available()) return &vnni::LinearPanelsByTiles;
#endif
  return G4V_LINEAR(isa, LinearPanels);
}

}  // namespace

void QuantisedRows::Resize(int64_t rows, int64_t columns) {
  constexpr int64_t kLine = 64;
  blocks_ = (columns + kActivationBlock - 1) / kActivationBlock;
  stride_ = ((blocks_ * kActivationBlock + kLine - 1) / kLine | 1) * kLine;
  rows = (rows + kTileRows - 1) / kTileRows * kTileRows;  // tiles are loaded whole
  if (codes_.size() < static_cast<size_t>(rows * stride_)) {
    codes_.resize(static_cast<size_t>(rows * stride_));
  }
  const auto count = static_cast<size_t>(rows * blocks_);
  if (scales_.size() >= count) return;
  scales_.resize(count);
  sums_.resize(2 * count);
  scaled_sums_.resize(count);
}

void QuantiseRow(const float* x, int64_t columns, int64_t row, QuantisedRows& to, Isa isa) {
  G4V_LINEAR(isa, QuantiseRow)(x, columns, row, to);
}

void LinearPanels(const PackedMatrix& matrix, const LinearInput& x, int64_t first, int64_t last,
                  const LinearOutput& out, Isa isa) {
  LinearFor(isa)({matrix, nullptr, x, out}, first, last);
}

void SwiGluPanels(const PackedMatrix& gate, const PackedMatrix& up, const LinearInput& x,
                  int64_t first, int64_t last, const LinearOutput& out, Isa isa) {
  LinearFor(isa)({gate, &up, x, out}, first, last);
}

}  // namespace g4v::kernels
