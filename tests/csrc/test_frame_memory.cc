// Which frames of a growing, sliding, shrinking or repeating video are computed anew, and that each
// slot holds what belongs to its frame.
#include <algorithm>
#include <cstdint>
#include <map>
#include <random>

#include "check.h"
#include "vision/frame_memory.h"

namespace {

using g4v::FrameKey;
using g4v::FrameMemory;

constexpr int64_t kValues = 5;

FrameKey Key(int number) {
  FrameKey key{};
  key[0] = static_cast<uint8_t>(number);
  key[31] = static_cast<uint8_t>(number >> 8);
  return key;
}

std::vector<FrameKey> Keys(const std::vector<int>& numbers) {
  std::vector<FrameKey> keys;
  for (const int number : numbers) keys.push_back(Key(number));
  return keys;
}

// Fills what is missing; returns how many frames that were.
size_t Show(FrameMemory& memory, const std::vector<int>& video, int64_t most = 8) {
  const std::vector<FrameKey> keys = Keys(video);
  const FrameMemory::Plan plan = memory.Arrange(keys, kValues, most);
  for (const auto& missing : plan.missing) {
    std::fill_n(memory.slot(missing.slot), kValues,
                static_cast<float>(video[static_cast<size_t>(missing.frame)]));
  }
  memory.Complete(plan, keys);
  return plan.missing.size();
}

// The frames in the slots, each of which must be filled with its number.
std::vector<int> Held(FrameMemory& memory) {
  std::vector<int> numbers;
  for (int64_t slot = 0; slot < memory.frames(); ++slot) {
    const float* const values = memory.slot(slot);
    CHECK(std::count(values, values + kValues, values[0]) == kValues);
    numbers.push_back(static_cast<int>(values[0]));
  }
  return numbers;
}

std::vector<int> Sorted(std::vector<int> numbers) {
  std::ranges::sort(numbers);
  return numbers;
}

void TestBeginsWithALineOfTheCaches() {
  for (const int64_t most : {1, 3, 100, 100000}) {
    FrameMemory memory;
    Show(memory, {1}, most);
    CHECK(reinterpret_cast<uintptr_t>(memory.slot(0)) % 64 == 0);
  }
}

void TestVideosThatGoOn() {
  FrameMemory memory;
  CHECK(Show(memory, {1, 2, 3}) == 3);
  CHECK((Held(memory) == std::vector<int>{1, 2, 3}));
  CHECK(Show(memory, {1, 2, 3, 4}) == 1);  // grows
  CHECK((Held(memory) == std::vector<int>{1, 2, 3, 4}));
  CHECK(Show(memory, {2, 3, 4, 5}) == 1);  // slides: the new frame takes the place of the old
  CHECK((Held(memory) == std::vector<int>{5, 2, 3, 4}));
  CHECK(Show(memory, {4, 5}) == 0);  // shrinks: what stands beyond the end moves
  CHECK((Sorted(Held(memory)) == std::vector<int>{4, 5}));
  CHECK(Show(memory, {4, 4, 5}) == 0);  // once more what is there
  CHECK((Sorted(Held(memory)) == std::vector<int>{4, 4, 5}));
  CHECK(Show(memory, {7, 7, 7, 7}) == 1);
  CHECK((Held(memory) == std::vector<int>{7, 7, 7, 7}));
  CHECK(Show(memory, {7}) == 0);
}

void TestAnUnfinishedPlanIsNotBelieved() {
  FrameMemory memory;
  Show(memory, {1, 2, 3});
  const std::vector<FrameKey> keys = Keys({1, 8, 9});
  const FrameMemory::Plan plan = memory.Arrange(keys, kValues, 8);  // and then an error
  CHECK(plan.missing.size() == 2);
  CHECK(Show(memory, {1, 2, 8}) == 2);
  CHECK((Sorted(Held(memory)) == std::vector<int>{1, 2, 8}));
}

void TestAnotherWidthForgets() {
  FrameMemory memory;
  Show(memory, {1, 2});
  CHECK(memory.Arrange(Keys({1, 2}), kValues + 1, 8).missing.size() == 2);
}

void TestRandomVideos() {
  std::mt19937 random(7);
  FrameMemory memory;
  std::map<int, int> before;
  for (int turn = 0; turn < 2000; ++turn) {
    std::vector<int> video(1 + random() % 12);
    for (int& number : video) number = static_cast<int>(random() % 16);
    std::map<int, int> now;
    size_t fresh = 0;
    for (const int number : video) {
      if (now[number]++ == 0 && before[number] == 0) ++fresh;
    }
    // A frame that is there is never asked for again, whatever else changes.
    CHECK(Show(memory, video, static_cast<int64_t>(1 + random() % 12)) == fresh);
    CHECK(Sorted(Held(memory)) == Sorted(video));
    before = now;
  }
}

// Equal stamps promise equal values, whatever moved, and filling anew gives a new one.
void TestStamps() {
  std::mt19937 random(11);
  FrameMemory memory;
  FrameMemory another;
  std::map<uint64_t, int> seen;
  for (int turn = 0; turn < 500; ++turn) {
    std::vector<int> video(1 + random() % 6);
    for (int& number : video) number = static_cast<int>(random() % 8);
    FrameMemory& shown = turn % 3 ? memory : another;
    const size_t before = seen.size();
    const size_t fresh = Show(shown, video);
    const std::vector<int> held = Held(shown);
    for (int64_t slot = 0; slot < shown.frames(); ++slot) {
      CHECK(shown.stamp(slot) != 0);
      const int number = held[static_cast<size_t>(slot)];
      CHECK(seen.emplace(shown.stamp(slot), number).first->second == number);
    }
    CHECK(seen.size() == before + fresh);
    CHECK(shown.capacity() >= shown.frames());
  }
}

}  // namespace

int main() {
  TestBeginsWithALineOfTheCaches();
  TestVideosThatGoOn();
  TestAnUnfinishedPlanIsNotBelieved();
  TestAnotherWidthForgets();
  TestRandomVideos();
  TestStamps();
  return g4v::test::Finish();
}
