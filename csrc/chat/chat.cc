#include "chat/chat.h"

#include <random>
#include <span>

#include "base/ascii.h"
#include "base/error.h"
#include "base/utf8.h"
#include "chat/chat_state.h"

namespace g4v {
namespace {

uint64_t RandomSeed() {
  std::random_device device;
  return device();
}

// Videos of a chat: see ChatOptions::seed.
uint64_t VideoSeed(uint64_t chat_seed, uint64_t index) { return chat_seed * 1000003u + index; }

std::string SystemText(const PromptSpec& prompt, const ChatOptions& options) {
  if (!options.system) return prompt.system;
  if (!IsValidUtf8(*options.system)) {
    throw Error(Code::InvalidArgument, "system is not valid UTF-8 text");
  }
  return std::string(StripWhite(*options.system));
}

}  // namespace

ChatState::ChatState(std::shared_ptr<Runtime> runtime, const ChatOptions& options)
    : runtime_(std::move(runtime)),
      options_(options),
      seed_(options.seed ? *options.seed : RandomSeed()),
      system_(SystemText(runtime_->prompt().spec(), options)),
      cache_(runtime_->decoder().NewCache()),
      pending_(runtime_->prompt().OpeningIds(system_)) {
  ResolveTextOptions(runtime_->text_defaults(), options_.text, {});
  if (options_.video.seed) {
    throw Error(Code::InvalidArgument,
                "seed is no option of a chat's videos; they follow from the chat's seed");
  }
  if (options_.video.latents) {
    throw Error(Code::InvalidArgument, "latents is no option of a chat's videos; use generate");
  }
  if (runtime_->makes_videos()) runtime_->ResolveVideo(options_.video, {});
  used_ = static_cast<int>(pending_.size());
  if (options_.system && used_ >= context_length()) {
    throw Error(Code::InvalidArgument, "system takes " + std::to_string(used_) +
                                           " tokens, and the context has " +
                                           std::to_string(context_length()) + "; shorten it");
  }
}

std::shared_ptr<Stream> ChatState::Send(const std::string& text,
                                        const std::optional<FramesView>& frames,
                                        const TurnOptions& options) {
  auto state = std::make_shared<StreamState>(runtime_->environment());
  auto handle = std::make_shared<Stream>(state);  // waits for the worker, whatever happens below
  {
    const std::lock_guard lock(mutex_);
    if (busy_) {
      throw Error(Code::InvalidArgument,
                  "the chat is still answering; read its stream to the end or cancel it");
    }
    busy_ = true;
    active_ = state;
  }
  try {
    auto question = std::make_shared<Question>(Check(text, frames, options));
    const auto self = shared_from_this();
    state->Start(
        // Weak: the last owner joins the worker and must not be the worker itself.
        [self, question, stream = std::weak_ptr(state)] {
          auto turn = std::make_shared<Turn>(self->Run(*question, stream.lock()));
          return StreamState::Result{turn->done, [self, turn] { self->Commit(std::move(*turn)); }};
        },
        [self] { self->RollBack(); });
  } catch (...) {
    RollBack();
    throw;
  }
  return handle;
}

void ChatState::Cancel() {
  std::shared_ptr<StreamState> stream;
  {
    const std::lock_guard lock(mutex_);
    stream = active_.lock();
  }
  if (stream) stream->Cancel();
}

int ChatState::context_used() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

ChatState::Question ChatState::Check(const std::string& text,
                                     const std::optional<FramesView>& frames,
                                     const TurnOptions& options) {
  runtime_->CheckUnchanged();
  const PromptTemplate& prompt = runtime_->prompt();
  Question question;
  question.text = ResolveTextOptions(runtime_->text_defaults(), options_.text, options.text);
  if (options.video.seed) {
    throw Error(Code::InvalidArgument,
                "seed is no option of a turn's videos; they follow from the chat's seed");
  }
  if (options.video.latents) {
    throw Error(Code::InvalidArgument, "latents is no option of a turn's videos; use generate");
  }
  if (runtime_->makes_videos()) {
    question.generation = runtime_->ResolveVideo(options_.video, options.video);
  }
  const std::string words = CleanUserText(prompt.spec(), text);
  if (frames) {
    question.video = runtime_->video_encoder().Sample(*frames, options.frames);
  } else if (options.frames) {
    throw Error(Code::InvalidArgument,
                "frames is how many frames of the question's video are looked at, and the question "
                "has none; pass a video or leave frames out");
  }
  const bool video = question.video.has_value();
  PromptTemplate::TurnIds ids =
      turns_ == 0 ? prompt.FirstTurn(system_, words, video) : prompt.LaterTurn(words, video);
  question.before = pending_;
  question.before.insert(question.before.end(), ids.before_video.begin(), ids.before_video.end());
  question.after = std::move(ids.after_video);
  CheckRoom(question);
  return question;
}

void ChatState::CheckRoom(const Question& question) const {
  const size_t video = question.video ? static_cast<size_t>(runtime_->video_encoder().tokens()) : 0;
  const size_t needed = question.before.size() + video + question.after.size();
  const size_t length = static_cast<size_t>(context_length());
  const size_t free = length - std::min(length, static_cast<size_t>(kept_));
  // One more for the answer.
  if (needed < free) return;
  throw Error(Code::ContextFull,
              "the prompt needs " + std::to_string(needed + 1) + " tokens but " +
                  std::to_string(free) + " of the context's " + std::to_string(length) +
                  " are free; " +
                  (turns_ > 0 ? "start a new chat or shorten the prompt" : "shorten the prompt"));
}

ChatState::Turn ChatState::Run(const Question& question,
                               const std::shared_ptr<StreamState>& stream) {
  Turn turn;
  std::vector<float> logits(static_cast<size_t>(runtime_->decoder().spec().vocab_size));
  Prefill(question, *stream, logits, turn);
  Decode(question, stream, logits, turn);
  turn.done.timings.video_ms = stream->WaitForJobs();
  turn.done.timings.total_ms = stream->ElapsedMs();
  return turn;
}

VideoTokens ChatState::Encode(const Frames& video, StreamState& stream, DoneEvent& done) {
  const std::vector<FrameKey> keys = KeysOf(video);
  done.video_frames = static_cast<int>(video.count);
  if (const auto found = encoded_.find(keys); found != encoded_.end()) return found->second;
  const VideoEncoder::Encoded encoded =
      runtime_->video_encoder().Encode(video, keys, frames_, &stream.control());
  done.encoded_frames = static_cast<int>(encoded.frames);
  return encoded_[keys] = encoded.tokens;
}

void ChatState::Prefill(const Question& question, StreamState& stream, std::vector<float>& logits,
                        Turn& turn) {
  Decoder& decoder = runtime_->decoder();
  std::vector<float> rows;
  decoder.Embed(question.before, rows);
  const double start = stream.ElapsedMs();
  if (question.video) {
    const VideoTokens tokens = Encode(*question.video, stream, turn.done);
    rows.insert(rows.end(), tokens->begin(), tokens->end());
    turn.done.timings.encode_ms = stream.ElapsedMs() - start;
  }
  decoder.Embed(question.after, rows);
  stream.CheckNotCancelled();
  const double encoded = stream.ElapsedMs();
  decoder.Append(*cache_, rows, logits, &stream.control());
  turn.done.prompt_tokens = cache_->length() - kept_;
  turn.done.timings.prefill_ms = stream.ElapsedMs() - encoded;
}

void ChatState::Decode(const Question& question, const std::shared_ptr<StreamState>& stream,
                       std::vector<float>& logits, Turn& turn) {
  Decoder& decoder = runtime_->decoder();
  const PromptTemplate& prompt = runtime_->prompt();
  const std::vector<int32_t> end = prompt.AnswerEndIds();
  const int prompt_end = cache_->length();
  Answer answer(prompt.spec(), runtime_->tokenizer());
  Sampler sampler(question.text, seed_, turns_);
  std::vector<int32_t> tokens;
  std::vector<float> row;
  DoneEvent& done = turn.done;
  while (done.finish_reason.empty()) {
    stream->CheckNotCancelled();
    const int32_t token = sampler.Next(logits, tokens);
    if (tokens.empty()) done.timings.first_token_ms = stream->ElapsedMs();
    tokens.push_back(token);
    if (prompt.EndsAnswer(token)) {
      done.finish_reason = "stop";
      turn.pending = {prompt.spec().turn_end_id};
      break;
    }
    Deliver(question, stream, answer.Push(token), turn);
    if (answer.stopped()) {
      // The model began to write the user's part, which does not become history.
      done.finish_reason = "stop";
      cache_->Truncate(prompt_end +
                       std::min(answer.tokens_before_stop(), cache_->length() - prompt_end));
      turn.pending = end;
    } else if (static_cast<int>(tokens.size()) >= question.text.max_new_tokens) {
      done.finish_reason = "length";
      turn.pending = end;
      turn.pending.insert(turn.pending.begin(), token);
    } else if (cache_->length() >= decoder.spec().context_length) {
      done.finish_reason = "context";
      turn.pending = end;
      turn.pending.insert(turn.pending.begin(), token);
    } else {
      row.clear();
      decoder.Embed({&token, 1}, row);
      decoder.Append(*cache_, row, logits, &stream->control());
    }
  }
  Deliver(question, stream, answer.Finish(), turn);
  done.new_tokens = static_cast<int>(tokens.size());
  done.timings.decode_ms = stream->ElapsedMs() - done.timings.first_token_ms;
  if (answer.unclosed_caption()) {
    stream->Push(WarningEvent{"the answer ended inside a video prompt; no video was made of it"});
  }
  if (answer.refused()) stream->Push(RefusalEvent{answer.text()});
}

void ChatState::Deliver(const Question& question, const std::shared_ptr<StreamState>& stream,
                        std::vector<AnswerPiece> pieces, Turn& turn) {
  for (AnswerPiece& piece : pieces) {
    if (!piece.is_caption) {
      stream->Push(TextEvent{std::move(piece.text)});
      continue;
    }
    if (piece.text.empty()) {
      stream->Push(WarningEvent{"the answer holds an empty video prompt; no video was made of it"});
      continue;
    }
    const int index = turn.videos++;
    stream->Push(VideoPromptEvent{index, piece.text});
    if (!question.generation) {
      stream->Push(WarningEvent{"this bundle has no video generator; no video was made"});
      continue;
    }
    const uint64_t seed = VideoSeed(seed_, videos_ + static_cast<uint64_t>(index));
    runtime_->queue().Submit(stream, index, {std::move(piece.text), seed, *question.generation},
                             VideoQueue::Withhold::GoOn);
  }
}

void ChatState::Commit(Turn turn) {
  const std::lock_guard lock(mutex_);
  pending_ = std::move(turn.pending);
  kept_ = cache_->length();
  videos_ += static_cast<uint64_t>(turn.videos);
  ++turns_;
  used_ = kept_ + static_cast<int>(pending_.size());
  busy_ = false;
  active_.reset();
}

void ChatState::RollBack() {
  const std::lock_guard lock(mutex_);
  cache_->Truncate(kept_);
  busy_ = false;
  active_.reset();
}

Chat::Chat(std::shared_ptr<ChatState> state) : state_(std::move(state)) {}
Chat::~Chat() = default;

std::shared_ptr<Stream> Chat::Send(const std::string& text, const std::optional<FramesView>& frames,
                                   const TurnOptions& options) {
  return state_->Send(text, frames, options);
}

void Chat::Cancel() {
  if (state_.usable()) state_.unchecked().Cancel();
}
int Chat::context_used() const { return state_->context_used(); }
int Chat::context_length() const { return state_.unchecked().context_length(); }
uint64_t Chat::seed() const { return state_.unchecked().seed(); }

}  // namespace g4v
