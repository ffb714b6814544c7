#include "chat/turn_queue.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/process.h"

namespace g4v {
namespace {

// Rows of prompts in a step that has answers too: about as much work as the answers' own.
constexpr int kRowsBesideAnswers = 64;
// For videos one, since encoding uses all cores; for graphs more, so that a long prompt of one chat
// does not hold up the others.
constexpr size_t kHandsForVideos = 1;
constexpr size_t kHandsForGraphs = 4;

}  // namespace

TurnQueue::TurnQueue(Decoder& decoder, int most_turns)
    : decoder_(decoder),
      most_turns_(static_cast<size_t>(most_turns)),
      most_hands_(decoder.exact_in_parts() ? kHandsForVideos : kHandsForGraphs),
      loop_(StartThread([this] { Loop(); })) {}

TurnQueue::~TurnQueue() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for_hands_.notify_all();
  loop_.join();
  for (std::thread& hand : hands_) hand.join();
}

void TurnQueue::Submit(std::unique_ptr<Turn> turn) {
  Entries entry;  // so that the loop needs no memory for it
  entry.push_back({std::move(turn)});
  {
    const std::lock_guard lock(mutex_);
    waiting_.splice(waiting_.end(), entry);
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
    Entries ended;
    std::vector<Turn*> computing;
    try {
      Expire();
      Admit();
      computing = Compute(ended);
    } catch (...) {
      FailAll(std::current_exception());
    }
    news_ = news_ || !ended.empty();  // there is room for those who wait
    lock.unlock();
    ended.clear();
    try {
      if (!computing.empty()) StepTogether(computing);
    } catch (...) {
      for (Turn* const turn : computing) turn->Fail(std::current_exception());
    }
    lock.lock();
    if (!computing.empty()) continue;
    const auto ready = [this] { return stop_ || news_; };
    if (const auto deadline = NextDeadline()) {
      changed_.wait_until(lock, *deadline, ready);
    } else {
      changed_.wait(lock, ready);
    }
  }
}

void TurnQueue::Expire() {
  const auto next = NextDeadline();
  if (!next) return;
  const auto now = StreamState::Clock::now();
  if (now < *next) return;
  for (Entries* const entries : {&waiting_, &running_}) {
    for (const Entry& entry : *entries) {
      if (entry.turn->deadline() && *entry.turn->deadline() <= now) entry.turn->Expire();
    }
  }
}

std::optional<StreamState::Clock::time_point> TurnQueue::NextDeadline() const {
  std::optional<StreamState::Clock::time_point> next;
  for (const Entries* const entries : {&waiting_, &running_}) {
    for (const Entry& entry : *entries) {
      const auto deadline = entry.turn->deadline();
      if (deadline && (!next || *deadline < *next)) next = deadline;
    }
  }
  return next;
}

void TurnQueue::Admit() {
  // One that was cancelled before its turn came is ended as those that run.
  for (auto entry = waiting_.begin(); entry != waiting_.end();) {
    const auto here = entry++;
    if (running_.size() >= most_turns_ && !here->turn->stopped()) continue;
    here->turn->Begin();
    running_.splice(running_.end(), waiting_, here);
  }
}

void TurnQueue::FailAll(std::exception_ptr error) {
  for (const Entry& entry : running_) {
    if (!entry.away) entry.turn->Fail(error);
  }
  news_ = true;
}

void TurnQueue::HandOver(Entry& entry) {
  if (idle_hands_ <= handed_over_.size() && hands_.size() < most_hands_) {
    try {
      hands_.reserve(most_hands_);
      hands_.push_back(StartThread([this] { HandLoop(); }));
    } catch (...) {
      // Those that are there do it later.
      if (hands_.empty()) {
        news_ = true;
        return entry.turn->Fail(std::current_exception());
      }
    }
  }
  handed_over_.push_back(&entry);
  entry.away = true;
  for_hands_.notify_one();
}

std::vector<Turn*> TurnQueue::Compute(Entries& ended) {
  std::vector<Turn*> computing;
  for (auto entry = running_.begin(); entry != running_.end();) {
    const auto here = entry++;
    if (here->away) continue;
    if (here->turn->Computes() && !here->turn->stopped()) {
      if (here->turn->NeedsEncoding() || !decoder_.exact_in_parts()) {
        HandOver(*here);
      } else {
        computing.push_back(here->turn.get());
      }
    } else if (here->turn->TryEnd()) {
      ended.splice(ended.end(), running_, here);
    }
  }
  return computing;
}

void TurnQueue::HandLoop() {
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_hands_;
    for_hands_.wait(lock, [this] { return stop_ || !handed_over_.empty(); });
    --idle_hands_;
    if (stop_) return;
    Entry& entry = *handed_over_.front();
    handed_over_.pop_front();
    do {
      lock.unlock();
      WorkOn(*entry.turn);
      lock.lock();
      // A turn that is alone stays in one hand.
    } while (handed_over_.empty() && !decoder_.exact_in_parts() && entry.turn->Computes() &&
             !entry.turn->stopped());
    entry.away = false;
    news_ = true;
    changed_.notify_one();
  }
}

void TurnQueue::WorkOn(Turn& turn) {
  if (turn.NeedsEncoding()) {
    turn.Encode();
  } else {
    StepAlone(turn);
  }
}

// A turn's rows are divided as they always are, so that it gets the same.
void TurnQueue::StepAlone(Turn& turn) {
  try {
    auto part = turn.Next(openings_, decoder_.most_rows(), nullptr);
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
  // Rows of many answers, or of a prompt, already fill a step.
  const bool alone = answers == 1 && turns.size() == 1;
  std::vector<Decoder::Sequence> parts;
  std::vector<Turn*> stepped;
  parts.reserve(turns.size());
  stepped.reserve(turns.size());
  const auto add = [&](Turn& turn, int most_rows) {
    try {
      auto part = turn.Next(openings_, most_rows, alone ? &costs_ : nullptr);
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
  const auto start = std::chrono::steady_clock::now();
  decoder_.Step(parts);
  if (alone) {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    costs_.Tell(stepped.front()->step_rows(), took.count());
  }
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
