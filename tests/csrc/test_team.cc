// Team (kernels/cpu/team.h): every part runs once, phases keep their order, and members that come
// late or not at all hold nothing up.
#include <atomic>
#include <chrono>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "check.h"
#include "kernels/cpu/team.h"

namespace {

using g4v::kernels::ShareOf;
using g4v::kernels::Team;
using std::chrono::microseconds;

// Each phase adds one to all numbers; a part checks that it finds what the phase before left.
struct Counting {
  std::vector<int> numbers = std::vector<int>(101, 0);
  std::atomic<int> wrong{0};
  std::atomic<int> calls{0};
  int members = 0;

  static void Run(void* self, const Team::Phase& phase, int part, int member) {
    auto& c = *static_cast<Counting*>(self);
    if (member < 0 || member >= c.members) ++c.wrong;
    ++c.calls;
    const auto share = ShareOf(static_cast<int64_t>(c.numbers.size()), part, phase.parts);
    for (int64_t i = share.first; i < share.last; ++i) {
      // Of a part that may be another member's in the next phase.
      if (c.numbers[static_cast<size_t>(i)]++ != phase.index) ++c.wrong;
    }
  }
};

void TestPhases(int members, microseconds spin) {
  Team team(members, spin);
  CHECK(team.members() == members);
  std::mt19937 random(std::random_device{}());
  for (int step = 0; step < 300; ++step) {
    Counting counting;
    counting.members = members;
    std::vector<Team::Phase> phases;
    const int count = static_cast<int>(random() % 40);
    int parts = 0;
    for (int i = 0; i < count; ++i) {
      phases.push_back({&Counting::Run, &counting, 0, i, static_cast<int>(1 + random() % 9)});
      parts += phases.back().parts;
    }
    team.Run(phases);
    CHECK(counting.wrong == 0);
    CHECK(counting.calls == parts);
    for (const int number : counting.numbers) CHECK(number == count);
    if (step % 50 == 0) std::this_thread::sleep_for(microseconds(500));  // the members sleep
  }
}

// A phase of no parts, and steps of several threads.
void TestCallers() {
  Team team(3, microseconds(20));
  std::atomic<int> total{0};
  const auto add = [](void* context, const Team::Phase&, int, int) {
    ++*static_cast<std::atomic<int>*>(context);
  };
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      const std::vector<Team::Phase> phases = {
          {add, &total, 0, 0, 5}, {add, &total, 0, 1, 0}, {add, &total, 0, 2, 2}};
      for (int step = 0; step < 200; ++step) team.Run(phases);
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(total == 4 * 200 * 7);
}

// While a member sleeps in one part, the others do the rest of the phase.
void TestSlowMember() {
  Team team(2, microseconds(1000));
  struct Slow {
    std::atomic<int> by_others{0};
    std::atomic<int> sleeper{-1};
    static void Run(void* self, const Team::Phase&, int part, int member) {
      auto& s = *static_cast<Slow*>(self);
      if (part == 9) {
        s.sleeper = member;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      } else if (member != s.sleeper) {
        ++s.by_others;
      }
    }
  } slow;
  const Team::Phase phase{&Slow::Run, &slow, 0, 0, 10};
  team.Run({&phase, 1});
  CHECK(slow.by_others >= 8);
}

}  // namespace

int main() {
  for (const int members : {1, 2, 5}) {
    TestPhases(members, microseconds(0));
    TestPhases(members, microseconds(100));
  }
  TestCallers();
  TestSlowMember();
  return g4v::test::Finish();
}
