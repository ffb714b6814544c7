// The threads of an assistant that compute answers: one takes all turns under way through the
// decoder together, one encodes the videos of questions.
#pragma once

#include <condition_variable>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
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
  // The decoder must outlive the queue. encodes: whether turns may have videos.
  TurnQueue(Decoder& decoder, int most_turns, bool encodes);
  ~TurnQueue();  // no turn may be under way any more
  TurnQueue(const TurnQueue&) = delete;
  TurnQueue& operator=(const TurnQueue&) = delete;

  void Submit(std::unique_ptr<Turn> turn);
  // There may be news of a turn: it was cancelled, or a video of it is done.
  void Look();

 private:
  struct Entry {
    std::unique_ptr<Turn> turn;
    bool encodes = false;  // the turn is the encoding thread's
  };
  using Entries = std::list<Entry>;

  void Loop();
  void EncodeLoop();
  void Admit();
  // Ends what is over. Returns the turns that compute.
  std::vector<Turn*> Compute(Entries& ended);
  void Step(const std::vector<Turn*>& turns);
  void StepTogether(const std::vector<Turn*>& turns);
  void StepAlone(Turn& turn);

  Decoder& decoder_;
  const size_t most_turns_;
  Openings openings_;  // the loop's own
  size_t first_ = 0;   // whose prompt comes first in the next step; likewise
  std::mutex mutex_;
  std::condition_variable changed_;   // wakes the loop
  std::condition_variable encoding_;  // wakes the encoding thread
  std::deque<std::unique_ptr<Turn>> waiting_;
  Entries running_;  // changed by the loop alone
  std::deque<Entry*> to_encode_;
  bool news_ = false;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace g4v
