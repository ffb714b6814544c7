#include "capi/handles.h"

namespace g4v::capi {
namespace {

void SetText(const std::string& text, g4v_event& out) {
  out.text = text.c_str();
  out.text_size = text.size();
}

void SetFrames(const Frames& frames, g4v_event& out) {
  out.frames = {frames.pixels->data(), frames.count, frames.height, frames.width};
}

// One overload for each kind of event.
struct Fill {
  g4v_event& out;

  void operator()(const TextEvent& event) const {
    out.kind = G4V_TEXT;
    SetText(event.text, out);
  }
  void operator()(const VideoPromptEvent& event) const {
    out.kind = G4V_VIDEO_PROMPT;
    out.index = event.index;
    SetText(event.caption, out);
  }
  void operator()(const ProgressEvent& event) const {
    out.kind = G4V_PROGRESS;
    out.index = event.index;
    out.step = event.step;
    out.steps = event.steps;
    if (event.preview) SetFrames(*event.preview, out);
  }
  void operator()(const VideoFramesEvent& event) const {
    out.kind = G4V_VIDEO_FRAMES;
    out.index = event.index;
    out.first_frame = event.first;
    out.video_frames = event.total;
    SetFrames(event.frames, out);
    out.fps = event.fps;
  }
  void operator()(const VideoEvent& event) const {
    out.kind = G4V_VIDEO_MADE;
    out.index = event.index;
    SetText(event.caption, out);
    SetFrames(event.frames, out);
    out.fps = event.fps;
    out.seed = event.seed;
  }
  void operator()(const WithheldEvent& event) const {
    out.kind = G4V_WITHHELD;
    out.index = event.index;
    out.unsafe_frames = event.unsafe;
    out.video_frames = event.frames;
    SetText(event.caption, out);
  }
  void operator()(const VideoFailedEvent& event) const {
    out.kind = G4V_VIDEO_FAILED;
    out.index = event.index;
    SetText(event.caption, out);
    out.status = static_cast<g4v_status>(event.code);
    out.message = event.message.c_str();
  }
  void operator()(const RefusalEvent& event) const {
    out.kind = G4V_REFUSAL;
    SetText(event.text, out);
  }
  void operator()(const WarningEvent& event) const {
    out.kind = G4V_WARNING;
    SetText(event.text, out);
  }
  void operator()(const DoneEvent& event) const {
    out.kind = G4V_DONE;
    SetText(event.finish_reason, out);
    out.prompt_tokens = event.prompt_tokens;
    out.new_tokens = event.new_tokens;
    out.encoded_frames = event.encoded_frames;
    out.video_frames = event.video_frames;
    out.cached_tokens = event.cached_tokens;
    out.drafted_tokens = event.drafted_tokens;
    out.accepted_tokens = event.accepted_tokens;
    out.queue_ms = event.timings.queue_ms;
    const Timings& t = event.timings;
    out.timings = {t.encode_ms, t.prefill_ms, t.first_token_ms,
                   t.decode_ms, t.video_ms,   t.total_ms};
  }
};

}  // namespace

const g4v_event* DescribedEvent::Set(const Event& event) {
  event_ = {};
  std::visit(Fill{event_}, event);
  if (const auto* text = std::get_if<TextEvent>(&event)) SetTokens(text->tokens);
  if (const auto* done = std::get_if<DoneEvent>(&event)) SetTokens(done->tokens);
  return &event_;
}

void DescribedEvent::SetTokens(const std::vector<SampledToken>& tokens) {
  top_.clear();
  for (const SampledToken& token : tokens) {
    for (const TopToken& top : token.top) top_.push_back({top.id, top.logprob});
  }
  tokens_.clear();
  const g4v_top_token* next = top_.data();
  for (const SampledToken& token : tokens) {
    tokens_.push_back({token.id, token.logprob.value_or(0), next, token.top.size()});
    next += token.top.size();
  }
  event_.tokens = tokens_.data();
  event_.token_count = tokens_.size();
}

}  // namespace g4v::capi
