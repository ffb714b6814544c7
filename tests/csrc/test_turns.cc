// Turns of many chats from many threads, with cancels, forks and cuts among them, on a bundle whose
// decoder the core runs itself (G4V_TEST_PACKED_BUNDLE names it): made for sanitizers, and it tells
// whether each answer is the one that a chat alone gets.
#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "chat/assistant.h"
#include "check.h"

namespace {

using g4v::Assistant;
using g4v::Chat;
using g4v::Code;

constexpr int kThreads = 6;
constexpr int kRounds = 12;

std::shared_ptr<Chat> Open(Assistant& assistant, uint64_t seed) {
  g4v::ChatOptions options;
  options.seed = seed;
  options.text.temperature = seed % 2 == 0 ? 0.0 : 1.2;
  options.text.max_new_tokens = 24;
  return assistant.Chat(options);
}

std::string Question(int number) { return "Say something about " + std::to_string(number % 3); }

// The ids of an answer; empty where the turn was cancelled.
std::vector<int32_t> Read(g4v::Stream& stream) {
  std::vector<int32_t> ids;
  const auto add = [&ids](const std::vector<g4v::SampledToken>& tokens) {
    for (const g4v::SampledToken& token : tokens) ids.push_back(token.id);
  };
  try {
    while (const auto event = stream.Next()) {
      if (const auto* text = std::get_if<g4v::TextEvent>(&*event)) add(text->tokens);
      if (const auto* done = std::get_if<g4v::DoneEvent>(&*event)) add(done->tokens);
    }
  } catch (const g4v::Error& error) {
    CHECK(error.code() == Code::Cancelled);
    return {};
  }
  return ids;
}

std::vector<int32_t> Ask(Chat& chat, int number) { return Read(*chat.Send(Question(number))); }

void Talk(Assistant& assistant, int number, const std::vector<int32_t>& wanted,
          std::atomic<int>& cancelled) {
  for (int round = 0; round < kRounds; ++round) {
    const auto chat = Open(assistant, static_cast<uint64_t>(number));
    const auto stream = chat->Send(Question(round));
    std::thread canceller([&] {
      if (round % 3 != 0) std::this_thread::sleep_for(std::chrono::microseconds(100 * round));
      chat->Cancel();
    });
    const bool whole = !Read(*stream).empty();
    canceller.join();
    if (!whole) ++cancelled;
    CHECK(chat->turns() == (whole ? 1 : 0));
    chat->Truncate(0);
    const auto fork = chat->Fork();
    std::thread other([&] { CHECK(Ask(*fork, number) == wanted); });
    CHECK(Ask(*chat, number) == wanted);
    other.join();
    chat->Append(Question(1), "An answer.");
    const auto second = chat->Fork();
    CHECK(Ask(*chat, 2) == Ask(*second, 2));
    CHECK(chat->bytes() > 0 && assistant.kv_bytes() > 0);
    const auto dropped = second->Send(Question(0));  // goes while it answers
  }
}

}  // namespace

int main() {
  const char* bundle = std::getenv("G4V_TEST_PACKED_BUNDLE");
  if (!bundle) {
    std::cerr << "G4V_TEST_PACKED_BUNDLE is not set\n";
    return g4v::test::kSkip;
  }
  for (const int turns : {1, 4, 16}) {
    g4v::LoadOptions options;
    options.device = "cpu";
    options.threads = 2;
    options.turns = turns;
    const auto assistant = Assistant::Load(bundle, options);
    std::vector<std::vector<int32_t>> alone;
    for (int i = 0; i < kThreads; ++i) {
      alone.push_back(Ask(*Open(*assistant, static_cast<uint64_t>(i)), i));
      CHECK(!alone.back().empty());
    }
    std::atomic<int> cancelled{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      const auto& wanted = alone[static_cast<size_t>(i)];
      threads.emplace_back([&, i] { Talk(*assistant, i, wanted, cancelled); });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(cancelled > 0);
  }
  return g4v::test::Finish();
}
