// The choice of an instruction set: by name, by what the processor has, and by G4V_CPU.
#include <cstdlib>
#include <string>

#include "check.h"
#include "kernels/cpu/dispatch.h"

namespace {

using namespace g4v::kernels;
using g4v::Code;

std::string Names() {
  std::string names;
  for (const Isa isa : kIsas) names += (names.empty() ? "" : ", ") + std::string(Name(isa));
  return names;
}

void TestNames() {
  for (const Isa isa : kIsas) {
    if (Available(isa)) {
      CHECK(ChooseIsa(Name(isa), "G4V_CPU") == isa);
    } else {
      std::cerr << Name(isa) << ": skipped, not on this processor\n";
      CHECK_THROWS(
          ChooseIsa(Name(isa), "G4V_CPU"), Code::InvalidArgument,
          std::string("G4V_CPU is ") + Name(isa) + ", which this processor does not have; it has ");
    }
  }
  CHECK(Available(Isa::kPlain));
  for (const char* word : {"sse", "AVX2", "avx2 ", "avx"}) {
    CHECK_THROWS(ChooseIsa(word, "G4V_CPU"), Code::InvalidArgument,
                 "G4V_CPU must be one of " + Names() + ", not \"" + std::string(word) + "\"");
  }
}

// Each instruction set includes the ones before it, and the best one is chosen.
void TestBest() {
  const Isa best = ChooseIsa(nullptr, "G4V_CPU");
  CHECK(ChooseIsa("", "G4V_CPU") == best);
  for (const Isa isa : kIsas) CHECK(Available(isa) == (isa <= best));
}

// A refusal is no choice: the variable is read again. A choice is kept.
void TestVariable() {
  setenv("G4V_CPU", "mmx", 1);
  for (int i = 0; i < 2; ++i) {
    CHECK_THROWS(ChosenIsa(), Code::InvalidArgument, "G4V_CPU must be one of");
  }
  setenv("G4V_CPU", "plain", 1);
  CHECK(ChosenIsa() == Isa::kPlain);
  unsetenv("G4V_CPU");
  CHECK(ChosenIsa() == Isa::kPlain);
}

}  // namespace

int main() {
  TestNames();
  TestBest();
  TestVariable();
  return g4v::test::Finish();
}
