#include "chat/chat_state.h"

#include <random>
#include <utility>

#include "base/ascii.h"
#include "base/error.h"
#include "base/option.h"
#include "base/utf8.h"
#include "chat/tag_parser.h"
#include "chat/turn_queue.h"

namespace g4v {
namespace {

constexpr size_t kMostStops = 16;
constexpr size_t kLongestStop = 1024;  // bytes

uint64_t RandomSeed() {
  std::random_device device;
  return device();
}

std::string SystemText(const PromptSpec& prompt, const ChatOptions& options) {
  if (!options.system) return prompt.system;
  CheckUtf8(*options.system, "system");
  return std::string(StripWhite(*options.system));
}

void CheckStops(const std::vector<std::string>& stops) {
  const auto refuse = [](const std::string& what) { throw Error(Code::InvalidArgument, what); };
  if (stops.size() > kMostStops) {
    refuse("stop has " + std::to_string(stops.size()) + " texts but may have at most " +
           std::to_string(kMostStops));
  }
  for (const std::string& stop : stops) {
    if (stop.empty()) refuse("stop has an empty text; leave it out");
    CheckUtf8(stop, "stop");
    if (stop.size() > kLongestStop) {
      refuse("stop has a text of " + std::to_string(stop.size()) + " bytes but each may have " +
             std::to_string(kLongestStop));
    }
  }
}

// What an option of videos may not be, of a chat or of a turn.
void CheckVideoOptions(const VideoOptions& options, const std::string& whose) {
  if (options.seed) {
    throw Error(Code::InvalidArgument, "seed is no option of a " + whose +
                                           "'s videos; they follow from the seed of the " + whose);
  }
  if (options.latents) {
    throw Error(Code::InvalidArgument,
                "latents is no option of a " + whose + "'s videos; use generate");
  }
  if (options.prompt_weighting.value_or(false)) {
    throw Error(Code::InvalidArgument, "prompt_weighting is no option of a " + whose +
                                           "'s videos, whose captions the model writes; use "
                                           "generate");
  }
  if (options.video || options.strength) {
    throw Error(Code::InvalidArgument, std::string(options.video ? "video" : "strength") +
                                           " is no option of a " + whose +
                                           "'s videos; use generate");
  }
}

uint64_t CountCaptions(const PromptSpec& prompt, const std::string& answer) {
  TagParser parser(prompt.video_open, prompt.video_close);
  uint64_t count = 0;
  const auto add = [&count](const std::vector<AnswerPiece>& pieces) {
    for (const AnswerPiece& piece : pieces) count += piece.is_caption && !piece.text.empty();
  };
  add(parser.Push(answer));
  add(parser.Finish().pieces);
  return count;
}

}  // namespace

class ChatState::Claim {
 public:
  // active: of the turn that begins, or null.
  Claim(ChatState& chat, const std::shared_ptr<StreamState>& active) : chat_(&chat) {
    const std::lock_guard lock(chat.mutex_);
    if (chat.busy_) {
      throw Error(Code::InvalidArgument,
                  "the chat is still answering; read its stream to the end or cancel it");
    }
    chat.busy_ = true;
    chat.active_ = active;
  }
  ~Claim() {
    if (chat_) chat_->Release();
  }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

  // The turn that began goes on with the claim.
  void Pass() { chat_ = nullptr; }

 private:
  ChatState* chat_;
};

ChatState::ChatState(std::shared_ptr<Runtime> runtime, const ChatOptions& options)
    : runtime_(std::move(runtime)),
      options_(options),
      seed_(options.seed ? *options.seed : RandomSeed()),
      system_(SystemText(runtime_->prompt().spec(), options)) {
  ResolveTextOptions(runtime_->text_defaults(), options_.text, {});
  CheckTextBytes(runtime_->limits(), context_length(), "system", system_.size());
  CheckVideoOptions(options_.video, "chat");
  if (runtime_->makes_videos()) runtime_->ResolveVideo(options_.video, {});
  history_.cache = runtime_->decoder().NewCache();
  history_.pending = {{runtime_->prompt().OpeningIds(system_)}};
  const int used = static_cast<int>(history_.pending.front().ids.size());
  history_.marks = {{used, 0}};
  if (options_.system && used >= context_length()) {
    throw Error(Code::InvalidArgument, "system takes " + std::to_string(used) +
                                           " tokens, and the context has " +
                                           std::to_string(context_length()) + "; shorten it");
  }
  CheckPromptTokens(runtime_->limits(), used);
}

std::shared_ptr<Stream> ChatState::Send(const std::string& text,
                                        const std::optional<FramesView>& frames,
                                        const TurnOptions& options) {
  auto state = std::make_shared<StreamState>(runtime_->environment());
  TurnQueue& queue = runtime_->turns();
  state->SetLook([&queue] { queue.Look(); });
  Claim claim(*this, state);
  Turn::Endings endings{[this](Turn::Result result) { Commit(std::move(result)); },
                        [this] { RollBack(); }};
  auto turn = std::make_unique<Turn>(*runtime_, history_, Check(text, frames, options), state,
                                     std::move(endings));
  auto handle = std::make_shared<Stream>(state, shared_from_this());
  queue.Submit(std::move(turn));
  claim.Pass();
  return handle;
}

void ChatState::Append(const std::string& text, const std::optional<FramesView>& frames,
                       const std::string& answer, std::optional<int> question_frames) {
  const Claim claim(*this, nullptr);
  runtime_->CheckUnchanged();
  const PromptTemplate& prompt = runtime_->prompt();
  CheckTextBytes(runtime_->limits(), context_length(), "the answer", answer.size());
  CheckUtf8(answer, "the answer");
  std::vector<Segment> segments = QuestionSegments(text, frames, question_frames);
  segments.push_back({prompt.AnswerIds(std::string(StripWhite(answer)))});
  const int needed = CountTokens(segments, CountOfVideo());
  CheckRoom(needed, history_.tokens());
  std::vector<Segment> pending = history_.pending;
  pending.insert(pending.end(), segments.begin(), segments.end());
  const History::Mark last = history_.marks.back();
  const std::lock_guard lock(mutex_);
  history_.marks.push_back(
      {last.tokens + needed, last.videos + CountCaptions(prompt.spec(), answer)});
  history_.pending = std::move(pending);
}

std::shared_ptr<ChatState> ChatState::Fork(std::optional<uint64_t> seed) {
  const Claim claim(*this, nullptr);
  ChatOptions options = options_;
  options.seed = seed.value_or(seed_);
  auto fork = std::make_shared<ChatState>(runtime_, options);
  fork->history_.cache = history_.cache->Copy();
  fork->history_.ids = history_.ids;
  fork->history_.pending = history_.pending;
  fork->history_.marks = history_.marks;
  fork->history_.encoded = history_.encoded;
  fork->Release();
  return fork;
}

void ChatState::Truncate(int turns) {
  const Claim claim(*this, nullptr);
  const auto most = static_cast<int>(history_.turns());
  if (turns < 0 || turns > most) {
    throw Error(Code::InvalidArgument, "turns is " + std::to_string(turns) + " but the chat has " +
                                           std::to_string(most) + "; it must be 0 to that");
  }
  {
    const std::lock_guard lock(mutex_);
    history_.marks.resize(static_cast<size_t>(turns) + 1);
  }
  const int tokens = history_.tokens();
  const int cached = history_.cache->length();
  CutSegments(history_.pending, std::max(tokens - cached, 0), CountOfVideo());
  history_.cache->Truncate(tokens);
  history_.ids.resize(static_cast<size_t>(history_.cache->length()));
  std::erase_if(history_.encoded, [turns](const auto& item) {
    return item.second.turn >= static_cast<size_t>(turns);
  });
}

void ChatState::Cancel() {
  std::shared_ptr<StreamState> stream;
  {
    const std::lock_guard lock(mutex_);
    stream = active_.lock();
  }
  if (stream) stream->Cancel();
}

int ChatState::turns() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(history_.turns());
}

int ChatState::context_used() const {
  const std::lock_guard lock(mutex_);
  return history_.tokens();
}

uint64_t ChatState::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

VideoTokenCount ChatState::CountOfVideo() const {
  return [this](int64_t frames) { return runtime_->video_encoder().tokens(frames); };
}

std::vector<Segment> ChatState::QuestionSegments(const std::string& text,
                                                 const std::optional<FramesView>& frames,
                                                 std::optional<int> question_frames) const {
  const PromptTemplate& prompt = runtime_->prompt();
  CheckTextBytes(runtime_->limits(), context_length(), "the prompt", text.size());
  const std::string words = CleanUserText(prompt.spec(), text);
  std::optional<Frames> video;
  if (frames) {
    video = runtime_->video_encoder().Sample(*frames, question_frames,
                                             runtime_->limits().max_decoded_bytes);
  } else if (question_frames) {
    throw Error(Code::InvalidArgument,
                "frames is how many frames of the question's video are looked at, and the question "
                "has none; pass a video or leave frames out");
  }
  const FrameTimes* times = video ? &video->times : nullptr;
  PromptTemplate::TurnIds ids = history_.turns() == 0 ? prompt.FirstTurn(system_, words, times)
                                                      : prompt.LaterTurn(words, times);
  std::vector<Segment> segments;
  if (video) {
    segments.push_back({std::move(ids.before_video)});
    segments.push_back({{}, std::move(video), std::move(ids.between_frames)});
  }
  segments.push_back({std::move(ids.after_video)});
  return segments;
}

Question ChatState::Check(const std::string& text, const std::optional<FramesView>& frames,
                          const TurnOptions& options) const {
  runtime_->CheckUnchanged();
  Question question;
  question.text = ResolveTextOptions(runtime_->text_defaults(), options_.text, options.text);
  CheckVideoOptions(options.video, "turn");
  if (runtime_->makes_videos()) {
    question.generation = runtime_->ResolveVideo(options_.video, options.video);
  }
  question.wants_videos = options.make_videos;
  CheckRange(kMaxTurnMs, options.max_turn_ms);
  CheckRange(kMaxVideos, options.max_videos);
  const Limits& limits = runtime_->limits();
  question.max_turn_ms = Tighter(limits.max_turn_ms, options.max_turn_ms);
  question.max_videos = Tighter(limits.max_videos, options.max_videos);
  question.spent_ms = options.spent_ms;
  question.seed = options.seed.value_or(seed_);
  CheckStops(options.stop);
  question.stop = options.stop;
  if (options.logprobs) CheckRange(kLogprobs, *options.logprobs);
  question.logprobs = options.logprobs;
  question.prompt = history_.pending;
  for (Segment& segment : QuestionSegments(text, frames, options.frames)) {
    question.prompt.push_back(std::move(segment));
  }
  const int needed = CountTokens(question.prompt, CountOfVideo());
  CheckRoom(needed, history_.cache->length());
  CheckKv(limits, *history_.cache, needed);
  return question;
}

void ChatState::CheckRoom(int needed, int kept) const {
  CheckPromptTokens(runtime_->limits(), int64_t{needed} + kept);
  const int length = context_length();
  const int free = length - std::min(length, kept);
  // One more for the answer.
  if (needed < free) return;
  throw Error(
      Code::ContextFull,
      "the prompt needs " + std::to_string(int64_t{needed} + 1) + " tokens but " +
          std::to_string(free) + " of the context's " + std::to_string(length) + " are free; " +
          (history_.turns() > 0 ? "start a new chat or shorten the prompt" : "shorten the prompt"));
}

void ChatState::Commit(Turn::Result result) {
  const int pending = CountTokens(result.pending, CountOfVideo());
  const std::lock_guard lock(mutex_);
  // What may throw comes first.
  history_.marks.reserve(history_.marks.size() + 1);
  for (auto& [keys, tokens] : result.encoded) {
    history_.encoded.emplace(keys, History::Encoded{tokens, history_.turns()});
  }
  history_.ids.insert(history_.ids.end(), result.ids.begin(), result.ids.end());
  history_.pending = std::move(result.pending);
  history_.marks.push_back(
      {history_.cache->length() + pending, history_.marks.back().videos + result.videos});
  ReleaseLocked();
}

void ChatState::RollBack() {
  history_.cache->Truncate(static_cast<int>(history_.ids.size()));
  Release();
}

void ChatState::Release() {
  const std::lock_guard lock(mutex_);
  ReleaseLocked();
}

void ChatState::ReleaseLocked() {
  bytes_ = history_.cache->bytes() + history_.frames.bytes();
  for (const auto& [keys, encoded] : history_.encoded) {
    bytes_ += encoded.tokens->size() * sizeof(float);
  }
  for (const Segment& segment : history_.pending) {
    if (segment.video) bytes_ += segment.video->pixels->size();
  }
  busy_ = false;
  active_.reset();
}

}  // namespace g4v
