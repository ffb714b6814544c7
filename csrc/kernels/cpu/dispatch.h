// Which instruction set the CPU kernels run with, decided at run time.
//
// Every kernel exists for several instruction sets. All of them compute the same formula, but their
// results may differ in the last bits. The best one that the processor has is taken, or the one
// that the environment variable G4V_CPU names, so that each can be tested on one machine.
#pragma once

namespace g4v::kernels {

// In ascending order; each of a kind of processor includes the ones before it.
enum class Isa {
  kPlain,   // the formula as it reads, in standard C++: what the others are tested against
  kNeon,    // NEON with dot products, of 64-bit ARM: 4 values; only the decoder's kernels have it
  kAvx2,    // AVX2, FMA and F16C: 8 values of float32 in a vector
  kAvx512,  // AVX-512 F, BW, DQ and VL: 16 values
  kAmx,     // AMX for bfloat16 besides (and for integers, where there): products of tiles
};
// Of this kind of processor, best first.
#ifdef __aarch64__
constexpr Isa kIsas[] = {Isa::kNeon, Isa::kPlain};
#else
constexpr Isa kIsas[] = {Isa::kAmx, Isa::kAvx512, Isa::kAvx2, Isa::kPlain};
#endif

const char* Name(Isa isa);  // "plain", "neon", "avx2", "avx512", "amx"

// Whether this build, this processor and the operating system have it. Does not look at G4V_CPU.
bool Available(Isa isa);

// The instruction set named `wanted`; null and "": the best that is available. Throws g4v::Error
// (InvalidArgument) for a word that names none, and for one that is not available here. `source`
// begins the message: "G4V_CPU".
Isa ChooseIsa(const char* wanted, const char* source);

// ChooseIsa of the environment variable G4V_CPU, which is read when this is first called. Where it
// throws, it does so in every call.
Isa ChosenIsa();

}  // namespace g4v::kernels
