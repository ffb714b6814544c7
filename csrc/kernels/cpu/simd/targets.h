// Which instruction sets this build has kernels for, and how code is compiled for one of them.
//
// A kernel is written once, over the vector class `Simd`, in a header that for_each_target.h
// includes once for each instruction set, with
//
//   G4V_TARGET           a namespace: avx2 or avx512 (and amx, by files of their own; plain, where
//                        for_plain_target.h includes it too)
//   G4V_TARGET_FEATURES  the compiler's names of the instructions
//
// and that reads
//
//   #include ...                                  everything that it needs
//
//   G4V_BEGIN_TARGET
//   namespace g4v::kernels::G4V_TARGET {
//   ...
//   }
//   G4V_END_TARGET
//
// No flag of a whole file is used: an inline function of another header, compiled with such a flag,
// could be the copy that the linker keeps for every caller, and then a processor without the
// instructions would run it. This is why all includes come before G4V_BEGIN_TARGET.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__)
#define G4V_X86
#endif

#if defined(__aarch64__) && defined(__GNUC__)
#define G4V_NEON
#endif

// VNNI on 256 bits without AVX-512, if the compiler knows it.
#if defined(G4V_X86) && __has_include(<avxvnniintrin.h>)
#define G4V_AVX_VNNI
#endif

// The build checks whether the compiler knows AMX.
#if defined(G4V_X86) && defined(__linux__) && defined(G4V_COMPILER_HAS_AMX)
#define G4V_AMX
#endif

// Of the version for any processor: what every x86-64, and every 64-bit ARM, has.
#ifdef G4V_X86
#define G4V_PLAIN_FEATURES "sse2"
#else
#define G4V_PLAIN_FEATURES "arch=armv8-a"
#endif
#define G4V_NEON_FEATURES "arch=armv8.2-a+dotprod"
#define G4V_AVX2_FEATURES "avx2,fma,f16c"
#define G4V_AVX512_FEATURES "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"
#define G4V_AVX_VNNI_FEATURES "avxvnni,avx2,fma,f16c"
#define G4V_VNNI_FEATURES "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c"
#define G4V_AMX_FEATURES \
  "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c,amx-tile,amx-bf16"
#define G4V_AMX_INT8_FEATURES G4V_AMX_FEATURES ",avx512vnni,amx-int8"

#define G4V_TARGET_PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define G4V_PUSH_TARGET(features) \
  G4V_TARGET_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define G4V_POP_TARGET G4V_TARGET_PRAGMA(clang attribute pop)
#else
#define G4V_PUSH_TARGET(features) \
  G4V_TARGET_PRAGMA(GCC push_options) G4V_TARGET_PRAGMA(GCC target(features))
#define G4V_POP_TARGET G4V_TARGET_PRAGMA(GCC pop_options)
#endif

#if defined(G4V_X86) || defined(G4V_NEON)
#define G4V_BEGIN_TARGET G4V_PUSH_TARGET(G4V_TARGET_FEATURES)
#define G4V_END_TARGET G4V_POP_TARGET
#else
#define G4V_BEGIN_TARGET
#define G4V_END_TARGET
#endif

// The address of a function that has one definition in the namespace `plain` and one in that of
// each vector instruction set: the definition for an Isa (kernels/cpu/dispatch.h).
#ifdef G4V_X86
#define G4V_DISPATCH(isa, function)                          \
  ((isa) >= ::g4v::kernels::Isa::kAvx512 ? &avx512::function \
   : (isa) == ::g4v::kernels::Isa::kAvx2 ? &avx2::function   \
                                         : &plain::function)
#else
#define G4V_DISPATCH(isa, function) ((void)(isa), &plain::function)
#endif

// The same of a function that has one for NEON too.
#ifdef G4V_NEON
#define G4V_DISPATCH_PORTABLE(isa, function) \
  ((isa) == ::g4v::kernels::Isa::kNeon ? &neon::function : &plain::function)
#else
#define G4V_DISPATCH_PORTABLE(isa, function) G4V_DISPATCH(isa, function)
#endif
