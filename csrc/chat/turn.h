// One turn of a chat as it is computed: video tokens, prefill, and the tokens of the answer.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "chat/answer.h"
#include "chat/history.h"
#include "chat/openings.h"
#include "chat/runtime.h"
#include "chat/stream_state.h"
#include "decoder/decoder.h"
#include "decoder/drafts.h"
#include "decoder/sampler.h"

namespace g4v {

// What a turn asks for, checked.
struct Question {
  std::vector<Segment> prompt;  // what is pending of the chat, and the turn's own
  TextGenerationSpec text;
  std::optional<VideoRequest> generation;  // but for caption and seed; none: no videos are made
  bool wants_videos = true;                // false: that none is made is no news
  uint64_t seed = 0;
  std::vector<std::string> stop;  // beside those of the prompt template
  std::optional<int> logprobs;
  int max_turn_ms = 0;  // of the load and the turn, the tighter one; 0 = no limit
  int max_videos = 0;   // likewise
  double spent_ms = 0;  // before the turn was sent
};

// The queue of turns takes one through these steps, on its threads: Encode where NeedsEncoding();
// then, as long as Computes(), Next, a step of the decoder, and Took or Fail; then TryEnd until it
// is true. After an error the rest of the steps is left out.
class Turn {
 public:
  struct Result {
    std::vector<int32_t> ids;      // of the tokens that the turn put into the cache
    std::vector<Segment> pending;  // belong to the turn and are not in the cache
    uint64_t videos = 0;           // that it asked for
    std::map<std::vector<FrameKey>, VideoTokens> encoded;
  };
  struct Endings {
    std::function<void(Result)> commit;
    std::function<void()> roll_back;
  };

  // `history` is the turn's own until one of the endings was called; nothing of it, nor of the
  // runtime, is touched afterwards.
  Turn(Runtime& runtime, History& history, Question question, std::shared_ptr<StreamState> stream,
       Endings endings);

  // When it is to be stopped by Expire; nothing where it may take any time, or was stopped so.
  std::optional<StreamState::Clock::time_point> deadline() const { return deadline_; }
  void Expire();
  bool stopped() const { return stream_->control().terminated(); }
  // The first work on the turn begins.
  void Begin() { done_.timings.queue_ms = stream_->ElapsedMs(); }

  bool NeedsEncoding() const { return needs_encoding_ && !error_; }
  void Encode();

  bool Computes() const { return computes_ && !error_; }
  bool prefills() const { return !answer_; }
  // The part of the next step: at most `most_rows` of the prompt, or the last token and drafts, where
  // `costs` is not null. Nothing where the turn is over by that.
  std::optional<Decoder::Sequence> Next(Openings& openings, int most_rows, const StepCosts* costs);
  // Rows of the step that Next told.
  size_t step_rows() const { return step_rows_; }
  void Took(Openings& openings);
  void Fail(std::exception_ptr error);

  // Ends the stream where nothing of it is under way any more.
  bool TryEnd();

 private:
  VideoTokens TokensOf(const Frames& video);
  void MakeRows();
  void Reserve();
  void LookUp(const StepCosts& costs);
  void StartAnswer();
  void TakeLogits(std::span<float> logits);
  SampledToken Sample(std::span<float> logits);
  void Finish(const std::string& reason, int tokens, std::vector<int32_t> end);
  void CutOff(const std::string& reason);
  void Deliver(std::vector<AnswerPiece> pieces);
  void AskForVideo(std::string caption);
  void CloseAnswer();

  Runtime& runtime_;
  History& history_;
  const Question question_;
  const std::shared_ptr<StreamState> stream_;
  const Endings endings_;
  const int first_length_;  // of the cache
  size_t opening_ = 0;      // rows of the chat's opening, where it is computed here
  bool needs_encoding_ = false;
  bool computes_ = true;
  std::exception_ptr error_;
  std::optional<StreamState::Clock::time_point> deadline_;

  // The prompt, and the tokens of the answer that are in the cache or in this step.
  std::vector<VideoTokens> videos_;
  std::vector<float> rows_;
  std::vector<int32_t> ids_;
  size_t rows_done_ = 0;
  size_t step_rows_ = 0;
  double prefill_start_ms_ = 0;

  std::optional<Answer> answer_;
  std::optional<Sampler> sampler_;
  int prompt_end_ = 0;            // length of the cache
  std::vector<int32_t> tokens_;   // of the answer
  std::vector<int32_t> drafts_;   // in this step
  std::optional<int32_t> guess_;  // the first draft, in this step or not
  DraftPolicy policy_;
  std::vector<float> logits_;
  std::vector<SampledToken> untold_;
  Result result_;
  DoneEvent done_;
};

}  // namespace g4v
