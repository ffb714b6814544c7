// Runs a fuzz target where there is no libFuzzer, with the same flags: -runs, -max_total_time,
// -seed, -max_len, -timeout, -artifact_prefix; then files, which are run once each, or folders, the
// corpus. Inputs are mutated by a generator with a fixed seed; one that reaches code which none
// before it reached joins the corpus (-fsanitize-coverage=trace-pc).
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "mutate.h"

extern "C" {
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
__attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most,
                                                     unsigned seed);
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());
void __sanitizer_cov_trace_pc();
// An abort is a finding too, with a stack; so is memory out of all proportion to an input of a few
// KB.
const char* __asan_default_options() {
  return "handle_abort=1:max_allocation_size_mb=1024:hard_rss_limit_mb=2048:detect_leaks=0";
}
const char* __ubsan_default_options() { return "print_stacktrace=1"; }
}

namespace {

using Bytes = std::vector<uint8_t>;
using Clock = std::chrono::steady_clock;

std::array<bool, 1 << 16> reached;
bool new_code = false;
uintptr_t previous = 0;
Bytes current;
std::string artifact_prefix = "./";

void Save() {
  const std::string path = artifact_prefix + "crash-" + std::to_string(getpid());
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(current.data()),
             static_cast<std::streamsize>(current.size()));
  std::fprintf(stderr, "the input is in %s\n", path.c_str());
}

void TooSlow(int) {
  std::fprintf(stderr, "FINDING: an input takes longer than -timeout\n");
  abort();
}

Bytes Read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// True where the input reached new code.
bool Run(unsigned timeout) {
  new_code = false;
  previous = 0;
  alarm(timeout);
  LLVMFuzzerTestOneInput(current.data(), current.size());
  alarm(0);
  return new_code;
}

}  // namespace

void __sanitizer_cov_trace_pc() {
  // From a function of this program on, so that where it was loaded does not matter.
  const auto here = reinterpret_cast<uintptr_t>(__builtin_return_address(0)) -
                    reinterpret_cast<uintptr_t>(&LLVMFuzzerTestOneInput);
  bool& seen = reached[(here ^ previous >> 1) % reached.size()];
  previous = here;
  new_code = new_code || !seen;
  seen = true;
}

int main(int count, char** arguments) {
  std::map<std::string, long> flags = {{"-runs", 1L << 60},
                                       {"-max_total_time", 1L << 30},
                                       {"-seed", 1},
                                       {"-max_len", 4096},
                                       {"-timeout", 10}};
  std::vector<std::filesystem::path> files;
  bool fuzz = false;
  for (const std::string argument : std::vector<std::string>(arguments + 1, arguments + count)) {
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    if (name == "-artifact_prefix") {
      artifact_prefix = argument.substr(equals + 1);
    } else if (name[0] == '-') {
      if (flags.count(name)) flags[name] = std::atol(argument.c_str() + equals + 1);
    } else if (std::filesystem::is_directory(argument)) {
      fuzz = true;
      for (const auto& entry : std::filesystem::directory_iterator(argument))
        files.push_back(entry.path());
    } else {
      files.emplace_back(argument);
    }
  }
  std::sort(files.begin(), files.end());
  if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(Save);
  signal(SIGALRM, TooSlow);
  std::vector<Bytes> corpus;
  const auto start = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  long runs = 0;
  for (const auto& file : files) {
    current = Read(file);
    Run(static_cast<unsigned>(flags["-timeout"]));
    corpus.push_back(current);
    ++runs;
  }
  if (corpus.empty()) corpus.emplace_back();
  g4v::fuzz::Mutator mutator(static_cast<uint32_t>(flags["-seed"]));
  const auto most = static_cast<size_t>(flags["-max_len"]);
  while (fuzz && runs < flags["-runs"] &&
         seconds() < static_cast<double>(flags["-max_total_time"])) {
    current = corpus[mutator.Below(corpus.size())];
    if (LLVMFuzzerCustomMutator && mutator.Below(4) > 0) {
      const size_t size = std::min(current.size(), most);
      current.resize(most);
      current.resize(LLVMFuzzerCustomMutator(current.data(), size, most, mutator.Number()));
    } else {
      mutator.Change(current, corpus[mutator.Below(corpus.size())], most);
    }
    if (Run(static_cast<unsigned>(flags["-timeout"])) && corpus.size() < 20000)
      corpus.push_back(current);
    ++runs;
  }
  std::fprintf(stderr, "stat::number_of_executed_units: %ld\n", runs);
}
