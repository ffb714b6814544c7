#include "chat/turn.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "chat/limits.h"
#include "chat/logprobs.h"
#include "chat/prompt.h"

namespace g4v {
namespace {

// Videos of a chat: see ChatOptions::seed.
uint64_t VideoSeed(uint64_t chat_seed, uint64_t index) { return chat_seed * 1000003u + index; }

std::vector<std::string> StopTexts(const PromptSpec& prompt, const Question& question) {
  std::vector<std::string> texts = prompt.stop;
  texts.insert(texts.end(), question.stop.begin(), question.stop.end());
  return texts;
}

}  // namespace

Turn::Turn(Runtime& runtime, History& history, Question question,
           std::shared_ptr<StreamState> stream, Endings endings)
    : runtime_(runtime),
      history_(history),
      question_(std::move(question)),
      stream_(std::move(stream)),
      endings_(std::move(endings)),
      first_length_(history.cache->length()),
      ids_(history.ids) {
  for (const Segment& segment : question_.prompt) {
    needs_encoding_ = needs_encoding_ || segment.video.has_value();
  }
  if (question_.max_turn_ms > 0) {
    const std::chrono::duration<double, std::milli> left(question_.max_turn_ms -
                                                         question_.spent_ms);
    deadline_ = stream_->started() + std::chrono::duration_cast<StreamState::Clock::duration>(left);
  }
}

void Turn::Expire() {
  stream_->Stop(std::make_exception_ptr(
      Error(Code::DeadlineExceeded, "the turn took longer than max_turn_ms, " +
                                        std::to_string(question_.max_turn_ms) +
                                        " milliseconds; ask for less or allow for more")));
  deadline_.reset();
}

void Turn::Encode() {
  needs_encoding_ = false;
  const double start = stream_->ElapsedMs();
  try {
    for (const Segment& segment : question_.prompt) {
      if (!segment.video) continue;
      stream_->CheckNotCancelled();
      videos_.push_back(TokensOf(*segment.video));
    }
  } catch (...) {
    Fail(std::current_exception());
  }
  done_.timings.encode_ms = stream_->ElapsedMs() - start;
}

VideoTokens Turn::TokensOf(const Frames& video) {
  const std::vector<FrameKey> keys = KeysOf(video);
  done_.video_frames += static_cast<int>(video.count);
  if (const auto found = history_.encoded.find(keys); found != history_.encoded.end()) {
    return found->second.tokens;
  }
  if (const auto found = result_.encoded.find(keys); found != result_.encoded.end()) {
    return found->second;
  }
  const VideoEncoder::Encoded encoded =
      runtime_.video_encoder().Encode(video, keys, history_.frames, &stream_->control());
  done_.encoded_frames += static_cast<int>(encoded.frames);
  return result_.encoded[keys] = encoded.tokens;
}

void Turn::Fail(std::exception_ptr error) { error_ = std::move(error); }

void Turn::MakeRows() {
  const Decoder& decoder = runtime_.decoder();
  const auto width = static_cast<size_t>(decoder.spec().hidden_size);
  const auto text = [&](const std::vector<int32_t>& ids) {
    decoder.Embed(ids, rows_);
    ids_.insert(ids_.end(), ids.begin(), ids.end());
  };
  auto video = videos_.begin();
  for (const Segment& segment : question_.prompt) {
    if (!segment.video) {
      text(segment.ids);
      continue;
    }
    // The tokens of a clip in a row, or those of each frame with a text behind all but the last.
    const std::vector<float>& tokens = **video++;
    const size_t share = tokens.size() / (segment.between.size() + 1);
    for (size_t part = 0; part <= segment.between.size(); ++part) {
      const float* first = tokens.data() + part * share;
      rows_.insert(rows_.end(), first, first + share);
      ids_.insert(ids_.end(), share / width, History::kVideoToken);
      if (part < segment.between.size()) text(segment.between[part]);
    }
  }
  prefill_start_ms_ = stream_->ElapsedMs();
}

std::optional<Decoder::Sequence> Turn::Next(Openings& openings, int most_rows,
                                            const StepCosts* costs) {
  Decoder& decoder = runtime_.decoder();
  KvCache& cache = *history_.cache;
  const auto width = static_cast<size_t>(decoder.spec().hidden_size);
  const auto vocab = static_cast<size_t>(decoder.spec().vocab_size);
  if (!answer_) {
    if (rows_.empty()) {
      MakeRows();
      if (decoder.exact_in_parts() && first_length_ == 0) {
        opening_ = question_.prompt.front().ids.size();
        if (auto copy = openings.Copy(question_.prompt.front().ids)) {
          history_.cache = std::move(copy);
          rows_done_ = std::exchange(opening_, 0);
          done_.cached_tokens = static_cast<int>(rows_done_);
        }
      }
    }
    const size_t end = rows_done_ < opening_ ? opening_ : rows_.size() / width;
    step_rows_ = std::min(static_cast<size_t>(most_rows), end - rows_done_);
    Reserve();
    const bool last = (rows_done_ + step_rows_) * width == rows_.size();
    if (last) logits_.resize(vocab);
    return Decoder::Sequence{history_.cache.get(),
                             {rows_.data() + rows_done_ * width, step_rows_ * width},
                             last ? std::span<float>(logits_) : std::span<float>(),
                             &stream_->control()};
  }
  drafts_.clear();
  guess_.reset();
  if (costs) LookUp(*costs);
  // At the limit the answer is the same as without drafts.
  if (!KvFits(runtime_.limits(), cache, 1 + static_cast<int>(drafts_.size()))) drafts_.clear();
  step_rows_ = 1 + drafts_.size();
  try {
    Reserve();
  } catch (const Error& error) {
    if (error.code() != Code::ContextFull) throw;
    CutOff("memory");
    return std::nullopt;
  }
  rows_.clear();
  decoder.Embed({&tokens_.back(), 1}, rows_);
  decoder.Embed(drafts_, rows_);
  logits_.resize(step_rows_ * vocab);
  return Decoder::Sequence{&cache, rows_, logits_, &stream_->control()};
}

void Turn::Reserve() {
  CheckKv(runtime_.limits(), *history_.cache, static_cast<int>(step_rows_));
  history_.cache->Reserve(static_cast<int>(step_rows_));
}

void Turn::LookUp(const StepCosts& costs) {
  // No draft is needed for what the answer cannot hold.
  const int room = std::min(question_.text.max_new_tokens - static_cast<int>(tokens_.size()),
                            runtime_.decoder().spec().context_length - history_.cache->length()) -
                   1;
  drafts_ = LookUpDrafts(ids_, std::min(runtime_.prompt_lookup(), room));
  if (drafts_.empty()) return;
  guess_ = drafts_.front();
  drafts_.resize(static_cast<size_t>(policy_.Best(static_cast<int>(drafts_.size()), costs)));
}

void Turn::Took(Openings& openings) {
  if (answer_) return TakeLogits(logits_);
  rows_done_ += step_rows_;
  if (rows_done_ == opening_) openings.Keep(question_.prompt.front().ids, *history_.cache);
  const auto width = static_cast<size_t>(runtime_.decoder().spec().hidden_size);
  if (rows_done_ * width < rows_.size()) return;
  StartAnswer();
  TakeLogits(logits_);
}

void Turn::StartAnswer() {
  prompt_end_ = history_.cache->length();
  done_.prompt_tokens = prompt_end_ - first_length_ - done_.cached_tokens;
  done_.cached_tokens += first_length_;
  done_.timings.prefill_ms = stream_->ElapsedMs() - prefill_start_ms_;
  const PromptSpec& prompt = runtime_.prompt().spec();
  answer_.emplace(prompt, runtime_.tokenizer(), StopTexts(prompt, question_));
  sampler_.emplace(question_.text, question_.seed, history_.turns());
}

// One row for the last token of the cache, and one for each draft behind it.
void Turn::TakeLogits(std::span<float> logits) {
  const PromptTemplate& prompt = runtime_.prompt();
  const DecoderSpec& spec = runtime_.decoder().spec();
  const auto vocab = static_cast<size_t>(spec.vocab_size);
  size_t accepted = 0;
  while (true) {
    SampledToken sampled = Sample(logits.subspan(accepted * vocab, vocab));
    const int32_t token = sampled.id;
    if (tokens_.empty()) done_.timings.first_token_ms = stream_->ElapsedMs();
    if (accepted < drafts_.size()) {
      policy_.Tell(drafts_[accepted] == token);
    } else if (accepted == 0 && guess_) {
      policy_.Tell(*guess_ == token);
    }
    untold_.push_back(std::move(sampled));
    tokens_.push_back(token);
    ids_.push_back(token);
    const int before = static_cast<int>(tokens_.size()) - 1;
    if (prompt.EndsAnswer(token)) {
      Finish("stop", before, {prompt.spec().turn_end_id});
      break;
    }
    Deliver(answer_->Push(token));
    if (answer_->stopped()) {
      // What the model went on to write is no part of its answer, and does not become history.
      Finish("stop", std::min(answer_->tokens_before_stop(), before), prompt.AnswerEndIds());
      break;
    }
    if (before + 1 >= question_.text.max_new_tokens) {
      CutOff("length");
      break;
    }
    if (prompt_end_ + before >= spec.context_length) {
      CutOff("context");
      break;
    }
    if (accepted == drafts_.size() || drafts_[accepted] != token) {
      history_.cache->Truncate(prompt_end_ + before);
      break;
    }
    ++accepted;
  }
  done_.drafted_tokens += static_cast<int>(drafts_.size());
  done_.accepted_tokens += static_cast<int>(accepted);
}

SampledToken Turn::Sample(std::span<float> logits) {
  SampledToken sampled;
  double sum = 0;
  std::vector<float> raw;  // the sampler changes them
  if (question_.logprobs) {
    raw.assign(logits.begin(), logits.end());
    sum = LogSumExp(raw);
    sampled.top = Likeliest(raw, *question_.logprobs, sum);
  }
  sampled.id = sampler_->Next(logits, tokens_);
  if (question_.logprobs) sampled.logprob = raw[static_cast<size_t>(sampled.id)] - sum;
  return sampled;
}

// tokens: of the answer that stay in the cache. end: what follows them, which is computed with the
// next turn.
void Turn::Finish(const std::string& reason, int tokens, std::vector<int32_t> end) {
  computes_ = false;
  done_.finish_reason = reason;
  history_.cache->Truncate(prompt_end_ + tokens);
  ids_.resize(static_cast<size_t>(history_.cache->length()));
  result_.pending = {{std::move(end)}};
  CloseAnswer();
}

// The answer ends behind its last token, which is not in the cache.
void Turn::CutOff(const std::string& reason) {
  std::vector<int32_t> end = runtime_.prompt().AnswerEndIds();
  end.insert(end.begin(), tokens_.back());
  Finish(reason, static_cast<int>(tokens_.size()) - 1, std::move(end));
}

void Turn::CloseAnswer() {
  Deliver(answer_->Finish());
  done_.new_tokens = static_cast<int>(tokens_.size());
  done_.timings.decode_ms = stream_->ElapsedMs() - done_.timings.first_token_ms;
  if (answer_->unclosed_caption()) {
    stream_->Push(WarningEvent{"the answer ended inside a video prompt; no video was made of it"});
  }
  if (answer_->refused()) stream_->Push(RefusalEvent{answer_->text()});
}

void Turn::Deliver(std::vector<AnswerPiece> pieces) {
  for (AnswerPiece& piece : pieces) {
    if (piece.is_caption) {
      AskForVideo(std::move(piece.text));
    } else {
      stream_->Push(TextEvent{std::move(piece.text), std::exchange(untold_, {})});
    }
  }
}

void Turn::AskForVideo(std::string caption) {
  if (caption.empty()) {
    stream_->Push(WarningEvent{"the answer holds an empty video prompt; no video was made of it"});
    return;
  }
  const uint64_t index = result_.videos++;
  stream_->Push(VideoPromptEvent{static_cast<int>(index), caption});
  if (!question_.wants_videos) return;
  if (!question_.generation) {
    stream_->Push(WarningEvent{"this bundle has no video generator; no video was made"});
    return;
  }
  const auto most = static_cast<uint64_t>(question_.max_videos);
  if (most > 0 && index >= most) {
    if (index > most) return;
    stream_->Push(WarningEvent{"the answer asks for more videos than max_videos, " +
                               std::to_string(most) + "; no more were made"});
    return;
  }
  const uint64_t seed = VideoSeed(question_.seed, history_.marks.back().videos + index);
  VideoRequest request = *question_.generation;
  request.caption = std::move(caption);
  request.seed = seed;
  runtime_.queue().Submit(stream_, static_cast<int>(index), std::move(request),
                          VideoQueue::Failure::GoOn);
}

bool Turn::TryEnd() {
  if (!error_ && computes_) {
    error_ = std::make_exception_ptr(Error(Code::Cancelled, "cancelled"));
  }
  if (error_) stream_->StopJobs();
  if (!stream_->jobs_done()) return false;
  done_.tokens = std::move(untold_);
  done_.timings.video_ms = stream_->job_ms();
  done_.timings.total_ms = stream_->ElapsedMs();
  stream_->End(
      std::move(done_), error_,
      [this] {
        result_.ids.assign(ids_.begin() + first_length_, ids_.end());
        endings_.commit(std::move(result_));
      },
      endings_.roll_back);
  return true;
}

}  // namespace g4v
