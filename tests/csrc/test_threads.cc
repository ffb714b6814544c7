// Many chats, videos and cancels at once on one assistant: what a thread sanitizer should
// watch. Runs on the synthetic bundle of tests/python/synthetic_bundle.py ($G4V_TEST_BUNDLE).
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "chat/assistant.h"
#include "check.h"

namespace g4v {
namespace {

struct Outcome {
  std::string text;
  std::map<int, std::vector<uint8_t>> videos;  // several may be made at once, in any order
  bool done = false;
  bool operator==(const Outcome&) const = default;
};

Outcome Read(Stream& stream) {
  Outcome outcome;
  while (std::optional<Event> event = stream.Next()) {
    if (const auto* text = std::get_if<TextEvent>(&*event)) outcome.text += text->text;
    if (const auto* video = std::get_if<VideoEvent>(&*event)) {
      outcome.videos[video->index] = *video->frames.pixels;
    }
    outcome.done = std::holds_alternative<DoneEvent>(*event);
  }
  return outcome;
}

std::vector<Outcome> Talk(Assistant& assistant, uint64_t seed) {
  ChatOptions options;
  options.seed = seed;
  const auto chat = assistant.Chat(options);
  const std::vector<uint8_t> pixels(2 * 4 * 4 * 3, static_cast<uint8_t>(40 + seed));
  std::vector<Outcome> outcomes;
  for (const char* text : {"say a", "say b", "tell h", "say d", "tell h"}) {
    const FramesView video{pixels.data(), 2, 4, 4};
    outcomes.push_back(Read(*chat->Send(text, video)));
  }
  return outcomes;
}

void TestParallelTalks(Assistant& assistant) {
  std::vector<std::vector<Outcome>> expected;
  for (uint64_t seed = 0; seed < 2; ++seed) expected.push_back(Talk(assistant, seed));
  CHECK(expected[0] != expected[1]);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 5; ++round) {
        if (Talk(assistant, i % 2) != expected[i % 2]) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

// Cancels hit every stage by chance; whatever they hit, the next turn is right.
void TestCancels(Assistant& assistant) {
  const std::vector<Outcome> expected = Talk(assistant, 0);
  ChatOptions options;
  options.seed = 0;
  const auto chat = assistant.Chat(options);
  const std::vector<uint8_t> pixels(2 * 4 * 4 * 3, 40);
  int cancelled = 0;
  for (int round = 0; round < 60; ++round) {
    // Of what holds "~" the bundle does not come to an end by itself: the first cancel hits.
    const char* const text = round == 0 ? "slow ~" : "say b";
    const auto stream = chat->Send(text, FramesView{pixels.data(), 2, 4, 4});
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&, i] {
        std::this_thread::sleep_for(std::chrono::microseconds(round * 40 * (i + 1)));
        chat->Cancel();
        stream->Cancel();
      });
    }
    bool done = false;
    try {
      done = Read(*stream).done;
    } catch (const Error& error) {
      CHECK(error.code() == Code::Cancelled);
      ++cancelled;
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(!stream->Next());
    if (done) break;  // the history has changed
  }
  CHECK(cancelled > 0);
  const auto fresh = assistant.Chat(options);
  CHECK(Read(*fresh->Send("say a", FramesView{pixels.data(), 2, 4, 4})) == expected[0]);
}

// A generator of the host, which other threads are inside of at the same time. A part of the seed is in
// the frames. One that is `deaf` does not notice that nobody wants its video.
LoadOptions WithGenerator(std::atomic<int>& inside, bool deaf) {
  LoadOptions options{"cpu", 1, "", {}, Verify::Auto};
  options.generator = [&inside, deaf](const HostVideoRequest& request,
                                      const std::shared_ptr<HostVideoJob>& job) {
    ++inside;
    for (int step = 0; step < 5 && (deaf || !job->WaitCancelled(std::chrono::milliseconds(1)));
         ++step) {
      if (deaf) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      job->Progress(step, 5);
    }
    --inside;
    if (job->cancelled() && !deaf) throw Error(Code::Cancelled, "cancelled");
    auto pixels =
        std::make_shared<std::vector<uint8_t>>(2 * 4 * 4 * 3, static_cast<uint8_t>(request.seed));
    return HostVideo{{std::move(pixels), 2, 4, 4}, 8.0};
  };
  return options;
}

void TestHostGenerator(const std::string& bundle) {
  std::atomic<int> inside = 0;
  for (const bool deaf : {false, true}) {
    const auto assistant = Assistant::Load(bundle, WithGenerator(inside, deaf));
    TestParallelTalks(*assistant);
    TestCancels(*assistant);
  }
  CHECK(inside == 0);  // the end of an assistant waits for it
  for (int round = 0; round < 8; ++round) {
    auto assistant = Assistant::Load(bundle, WithGenerator(inside, round % 2 == 0));
    auto chat = assistant->Chat();
    auto stream = chat->Send("say b");
    auto video = assistant->Generate("blue");
    if (round % 4 < 2) video->Cancel();
    assistant.reset();
    chat.reset();
    if (round % 3 == 0) CHECK(Read(*stream).videos.size() == 2);
    stream.reset();
    video.reset();
    CHECK(inside == 0);
  }
}

// Streams dropped unread, chats dropped before their streams, the assistant before all of them.
void TestLifetimes(const std::string& bundle) {
  for (int round = 0; round < 8; ++round) {
    auto assistant = Assistant::Load(bundle, {"cpu", 1, "", {}, Verify::Auto});
    auto chat = assistant->Chat();
    auto stream = chat->Send(round % 2 ? "say b" : "slow ~");
    auto video = assistant->Generate(round % 3 ? "blue" : "slow ~");
    auto other = assistant->Generate("green");
    if (round % 4 != 2) video->Cancel();  // else its destructor does
    assistant.reset();
    chat.reset();
    if (round % 2) CHECK(Read(*stream).done);
  }
}

}  // namespace
}  // namespace g4v

int main() {
  const char* bundle = std::getenv("G4V_TEST_BUNDLE");
  if (!bundle) {
    std::cerr << "G4V_TEST_BUNDLE is not set\n";
    return g4v::test::kSkip;
  }
  {
    const auto assistant = g4v::Assistant::Load(bundle, {"cpu", 1, "", {}, g4v::Verify::Auto});
    g4v::TestParallelTalks(*assistant);
    g4v::TestCancels(*assistant);
  }
  g4v::TestLifetimes(bundle);
  g4v::TestHostGenerator(bundle);
  return g4v::test::Finish();
}
