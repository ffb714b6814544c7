// What a fork and the end of a process leave of objects with threads (base/process.h), and files that
// are cut while they are in memory (base/mapped_file.h). Needs no ONNX Runtime.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "base/mapped_file.h"
#include "base/process.h"
#include "check.h"

namespace g4v {
namespace {

using namespace std::chrono_literals;
using Kind = LibraryWork::Kind;

template <class Work>
int ExitCodeOfChild(Work work) {
  const pid_t child = fork();
  if (child == 0) _exit(work() ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct Noted {
  std::atomic<int>* gone;
  int value = 7;
  ~Noted() { ++*gone; }
};

void TestHeld() {
  std::atomic<int> gone = 0;
  {
    const Held<Noted> held(std::make_shared<Noted>(&gone));
  }
  CHECK(gone == 1);
  auto* const held = new Held<Noted>(std::make_shared<Noted>(&gone));
  CHECK((*held)->value == 7 && held->usable());
  CHECK(ExitCodeOfChild([&] {
          bool refused = false;
          try {
            (void)(*held)->value;
          } catch (const Error& error) {
            refused = error.code() == Code::Runtime;
          }
          const bool fixed = held->unchecked().value == 7 && !held->usable();
          delete held;  // and what it held stays
          const Held<Noted> own(std::make_shared<Noted>(&gone));
          return refused && fixed && gone == 1 && own->value == 7;
        }) == 0);
  delete held;
  CHECK(gone == 2);
}

void TestForkWaitsForWhatLocks() {
  std::atomic<bool> inside = false;
  std::atomic<bool> leave = false;
  std::thread making([&] {
    const LibraryWork work(Kind::kMake);
    const LibraryWork nested(Kind::kMake);
    inside = true;
    while (!leave) std::this_thread::sleep_for(1ms);
  });
  while (!inside) std::this_thread::sleep_for(1ms);
  std::thread([&] {
    std::this_thread::sleep_for(30ms);
    leave = true;
  }).detach();
  CHECK(ExitCodeOfChild([&] { return leave.load(); }) == 0);
  making.join();
  // One that runs is not waited for, nor is a thread's own work.
  std::atomic<bool> end = false;
  std::thread running([&] {
    const LibraryWork work(Kind::kRun);
    while (!end) std::this_thread::sleep_for(1ms);
  });
  {
    const LibraryWork own(Kind::kMake);
    CHECK(ExitCodeOfChild([] { return LibraryWork(Kind::kRun).began(); }) == 0);
  }
  end = true;
  running.join();
}

void Set(void* flag) noexcept { *static_cast<std::atomic<bool>*>(flag) = true; }

void TestEnd() {
  std::atomic<int> gone = 0;
  std::atomic<bool> inside = false;
  std::atomic<bool> stop = false;
  std::atomic<bool> left = false;
  std::atomic<bool> refused = false;
  std::thread running([&] {
    {
      const LibraryWork work(Kind::kRun, &Set, &stop);
      inside = true;
      while (!stop) std::this_thread::sleep_for(1ms);
      left = true;
    }
    refused = !LibraryWork(Kind::kRun, std::nothrow).began();
  });
  while (!inside) std::this_thread::sleep_for(1ms);
  {
    const Held<Noted> held(std::make_shared<Noted>(&gone));
    CloseLibraryWork();
    CHECK(left && LibraryWorkClosed());
    CHECK_THROWS(held->value, Code::Runtime, "the process is ending");
  }
  CHECK(gone == 0);  // kept
  running.join();
  CHECK(refused && !LibraryWork(Kind::kMake, std::nothrow).began());
  CHECK_THROWS(LibraryWork(Kind::kRun), Code::Runtime, "the process is ending");
  OpenLibraryWork();
  CHECK(LibraryWork(Kind::kMake).began());
}

void TestFiles() {
  const auto path =
      std::filesystem::temp_directory_path() / ("g4v-test-held-" + std::to_string(getpid()));
  std::ofstream(path) << std::string(10000, 'x');
  const MappedFile read(path, MappedFile::How::Read);
  const MappedFile mapped(path);
  const FileStamp stamp(path);
  CHECK(read.size() == 10000 && mapped.size() == 10000 && stamp.unchanged());
  std::string pieces;
  ReadPieces(path,
             [&](std::span<const uint8_t> piece) { pieces.append(piece.begin(), piece.end()); });
  CHECK(pieces == std::string(10000, 'x'));
  std::filesystem::resize_file(path, 0);
  CHECK(!stamp.unchanged() && read.data()[9999] == 'x');
  CHECK(ExitCodeOfChild([&] { return mapped.data()[9999] != 1; }) != 0);  // SIGBUS
  CHECK(MappedFile(path, MappedFile::How::Read).size() == 0);
  std::filesystem::remove(path);
  CHECK_THROWS(MappedFile(path, MappedFile::How::Read), Code::Io, "No such file");
  CHECK_THROWS(MappedFile("/dev/null"), Code::Io, "not a regular file");
}

std::atomic<int> times_made = 0;

int MadeSlowly() {
  return MadeOnce([] {
    ++times_made;
    std::this_thread::sleep_for(200ms);
    return 7;
  });
}

// A fork in the middle of it: the child finds it made, and waits for no thread that it has not.
void TestMadeOnce() {
  std::thread other([] { CHECK(MadeSlowly() == 7); });
  while (times_made == 0) std::this_thread::yield();
  CHECK(ExitCodeOfChild([] {
          alarm(10);
          return MadeSlowly() == 7 && times_made == 1;
        }) == 0);
  other.join();
  CHECK(MadeSlowly() == 7 && times_made == 1);
}

}  // namespace
}  // namespace g4v

// A forked child cannot join its parent's threads, which a thread sanitizer would count as a leak.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() {
  return "report_thread_leaks=0:die_after_fork=0";
}

int main() {
  g4v::TestHeld();
  g4v::TestForkWaitsForWhatLocks();
  g4v::TestMadeOnce();
  g4v::TestEnd();
  g4v::TestFiles();
  return g4v::test::Finish();
}
