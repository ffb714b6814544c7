// The threads of an assistant that compute answers. One takes all turns under way through the decoder
// together; others, the hands, do for single turns what cannot be done together: they encode the
// videos of questions, and run decoders that are graphs.
#pragma once

#include <condition_variable>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "chat/openings.h"
#include "chat/turn.h"
#include "decoder/decoder.h"

namespace g4v {

// Turns are begun in the order in which they came, at most `most_turns` at once. Each step of the
// decoder has the next token of every answer, and rows of prompts beside them: of all prompts in
// turn, and no more than keep the answers flowing. A turn that fails or is cancelled leaves the
// others as they are.
class TurnQueue {
 public:
  // The decoder must outlive the queue.
  TurnQueue(Decoder& decoder, int most_turns);
  ~TurnQueue();  // no turn may be under way any more
  TurnQueue(const TurnQueue&) = delete;
  TurnQueue& operator=(const TurnQueue&) = delete;

  void Submit(std::unique_ptr<Turn> turn);
  // There may be news of a turn: it was cancelled, or a video of it is done.
  void Look();

 private:
  struct Entry {
    std::unique_ptr<Turn> turn;
    bool away = false;  // the turn is a hand's
  };
  using Entries = std::list<Entry>;

  void Loop();
  void HandLoop();
  // Stops turns whose time is over, waiting ones and those that are a hand's too.
  void Expire();
  std::optional<StreamState::Clock::time_point> NextDeadline() const;
  void Admit();
  void HandOver(Entry& entry);
  void WorkOn(Turn& turn);
  // Ends what is over, and hands over what cannot be done together. Returns the turns that can.
  std::vector<Turn*> Compute(Entries& ended);
  // Where there is no memory for the loop itself, all turns fail, and the loop goes on.
  void FailAll(std::exception_ptr error);
  void StepTogether(const std::vector<Turn*>& turns);
  void StepAlone(Turn& turn);

  Decoder& decoder_;
  const size_t most_turns_;
  const size_t most_hands_;
  StepCosts costs_;    // the loop's own
  Openings openings_;  // likewise
  size_t first_ = 0;   // whose prompt comes first in the next step; likewise
  std::mutex mutex_;
  std::condition_variable changed_;    // wakes the loop
  std::condition_variable for_hands_;  // wakes the hands
  Entries waiting_;
  Entries running_;  // changed by the loop alone
  std::deque<Entry*> handed_over_;
  size_t idle_hands_ = 0;
  bool news_ = false;
  bool stop_ = false;
  std::vector<std::thread> hands_;  // made when they are first needed; guarded by mutex_
  std::thread loop_;                // last: it uses the others
};

}  // namespace g4v
