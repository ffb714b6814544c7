#include "chat/turn_queue.h"

#include <algorithm>
#include <utility>

namespace g4v {
namespace {

// Rows of prompts in a step that has answers too: about as much work as the answers' own.
constexpr int kRowsBesideAnswers = 64;
// Answers in a step up to which drafts pay: rows of many answers already fill a step.
constexpr size_t kMostWithDrafts = 1;
constexpr int kMostDrafts = 15;

}  // namespace

TurnQueue::TurnQueue(Decoder& decoder, int most_turns, bool encodes)
    : decoder_(decoder), most_turns_(static_cast<size_t>(most_turns)) {
  threads_.emplace_back([this] { Loop(); });
  if (encodes) threads_.emplace_back([this] { EncodeLoop(); });
}

TurnQueue::~TurnQueue() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  encoding_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void TurnQueue::Submit(std::unique_ptr<Turn> turn) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(turn));
    news_ = true;
  }
  changed_.notify_one();
}

void TurnQueue::Look() {
  {
    const std::lock_guard lock(mutex_);
    news_ = true;
  }
  changed_.notify_one();
}

void TurnQueue::Loop() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    news_ = false;
    Admit();
    Entries ended;
    const std::vector<Turn*> computing = Compute(ended);
    news_ = news_ || !ended.empty();  // there is room for those who wait
    lock.unlock();
    ended.clear();
    if (!computing.empty()) Step(computing);
    lock.lock();
    if (computing.empty()) changed_.wait(lock, [this] { return stop_ || news_; });
  }
}

void TurnQueue::Admit() {
  // One that was cancelled before its turn came is ended as those that run.
  for (auto turn = waiting_.begin(); turn != waiting_.end();) {
    const bool admitted = running_.size() < most_turns_;
    if (!admitted && !(*turn)->stopped()) {
      ++turn;
      continue;
    }
    Entry& entry = running_.emplace_back(Entry{std::move(*turn)});
    turn = waiting_.erase(turn);
    entry.turn->Begin();
    if (!entry.turn->NeedsEncoding() || entry.turn->stopped()) continue;
    entry.encodes = true;
    to_encode_.push_back(&entry);
    encoding_.notify_one();
  }
}

std::vector<Turn*> TurnQueue::Compute(Entries& ended) {
  std::vector<Turn*> computing;
  for (auto entry = running_.begin(); entry != running_.end();) {
    const auto here = entry++;
    if (here->encodes) continue;
    if (here->turn->Computes() && !here->turn->stopped()) {
      computing.push_back(here->turn.get());
    } else if (here->turn->TryEnd()) {
      ended.splice(ended.end(), running_, here);
    }
  }
  return computing;
}

void TurnQueue::EncodeLoop() {
  std::unique_lock lock(mutex_);
  while (true) {
    encoding_.wait(lock, [this] { return stop_ || !to_encode_.empty(); });
    if (stop_) return;
    Entry& entry = *to_encode_.front();
    to_encode_.pop_front();
    lock.unlock();
    entry.turn->Encode();
    lock.lock();
    entry.encodes = false;
    news_ = true;
    changed_.notify_one();
  }
}

void TurnQueue::Step(const std::vector<Turn*>& turns) {
  if (decoder_.exact_in_parts()) return StepTogether(turns);
  // Each turn's rows are divided as they are alone, so that it gets the same.
  for (Turn* const turn : turns) StepAlone(*turn);
}

void TurnQueue::StepAlone(Turn& turn) {
  try {
    auto part = turn.Next(openings_, decoder_.most_rows(), 0);
    if (!part) return;
    decoder_.Step({&*part, 1});
    if (part->error) std::rethrow_exception(part->error);
    turn.Took(openings_);
  } catch (...) {
    turn.Fail(std::current_exception());
  }
}

void TurnQueue::StepTogether(const std::vector<Turn*>& turns) {
  const auto answers = static_cast<size_t>(
      std::count_if(turns.begin(), turns.end(), [](Turn* turn) { return !turn->prefills(); }));
  int rows = answers > 0 ? kRowsBesideAnswers : decoder_.most_rows();
  const int drafts = answers <= kMostWithDrafts && answers == turns.size() ? kMostDrafts : 0;
  std::vector<Decoder::Sequence> parts;
  std::vector<Turn*> stepped;
  const auto add = [&](Turn& turn, int most_rows) {
    try {
      auto part = turn.Next(openings_, most_rows, drafts);
      if (!part) return;
      if (turn.prefills()) {
        rows -= static_cast<int>(part->rows.size()) / decoder_.spec().hidden_size;
      }
      parts.push_back(*part);
      stepped.push_back(&turn);
    } catch (...) {
      turn.Fail(std::current_exception());
    }
  };
  ++first_;
  for (size_t i = 0; i < turns.size(); ++i) {
    Turn& turn = *turns[(first_ + i) % turns.size()];
    if (!turn.prefills()) {
      add(turn, 1);
    } else if (rows > 0) {
      add(turn, rows);
    }
  }
  if (parts.empty()) return;
  decoder_.Step(parts);
  for (size_t i = 0; i < parts.size(); ++i) {
    try {
      if (parts[i].error) std::rethrow_exception(parts[i].error);
      stepped[i]->Took(openings_);
    } catch (...) {
      stepped[i]->Fail(std::current_exception());
    }
  }
}

}  // namespace g4v
