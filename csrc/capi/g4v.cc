#include "g4v/g4v.h"

#include <chrono>

#include "base/process.h"
#include "capi/call.h"
#include "capi/frames.h"
#include "capi/handles.h"

namespace {

using g4v::Code;
using g4v::Error;
using g4v::Json;
using g4v::capi::Call;
using g4v::capi::Need;
using g4v::capi::Read;
using g4v::capi::Report;
using g4v::capi::TimedFrames;
using g4v::capi::ViewOf;
using g4v::capi::Write;

g4v_load_options LoadDefaults() {
  const g4v::LoadOptions& defaults = g4v::MadeOnce([] { return g4v::LoadOptions(); });
  return {sizeof(g4v_load_options),
          defaults.device.c_str(),
          defaults.threads,
          nullptr,
          g4v::NameOf(defaults.verify),
          nullptr,
          nullptr,
          defaults.cuda_graphs,
          defaults.kv_memory,
          defaults.kv_dtype.c_str(),
          defaults.spin_us,
          defaults.prompt_lookup,
          defaults.turns,
          defaults.limits.max_decoded_bytes,
          defaults.limits.max_prompt_tokens,
          defaults.limits.max_chat_kv_bytes,
          defaults.limits.max_turn_ms,
          defaults.limits.max_videos,
          defaults.limits.max_video_pixels,
          nullptr,
          nullptr};
}

g4v::HostFrameChecker HostChecker(g4v_frame_checker checker, void* user) {
  if (!checker) return {};
  return [checker, user](const g4v::Frames& frames) {
    const g4v_frames view = {frames.pixels->data(), frames.count, frames.height, frames.width};
    std::vector<float> unsafe(static_cast<size_t>(frames.count));
    const int status = checker(user, &view, unsafe.data());
    if (status != 0) {
      throw Error(Code::Runtime, "the host's frame checker failed with " + std::to_string(status));
    }
    return unsafe;
  };
}

// The bundle's defaults as the structs of the C API. A bundle without text or video has none: its
// chats or videos are refused with a reason when they are asked for.
void KeepDefaults(g4v_assistant& handle, const Json& info) {
  handle.text.struct_size = sizeof handle.text;
  handle.video.struct_size = sizeof handle.video;
  if (const Json* text = info.Find("text")) {
    handle.text.max_new_tokens = static_cast<int32_t>(text->Find("max_new_tokens")->AsInt());
    handle.text.top_k = static_cast<int32_t>(text->Find("top_k")->AsInt());
    handle.text.temperature = text->Find("temperature")->AsDouble();
    handle.text.top_p = text->Find("top_p")->AsDouble();
    handle.text.repetition_penalty = text->Find("repetition_penalty")->AsDouble();
  }
  handle.host_generator = info.Find("generator") != nullptr;
  if (handle.host_generator) handle.video.guidance_scale = -1;
  if (const Json* video = info.Find("video")) {
    handle.negative_prompt = video->Find("negative_prompt")->AsString();
    handle.scheduler = video->Find("scheduler")->AsString();
    handle.video.frames = static_cast<int32_t>(video->Find("frames")->AsInt());
    handle.video.width = static_cast<int32_t>(video->Find("width")->AsInt());
    handle.video.height = static_cast<int32_t>(video->Find("height")->AsInt());
    handle.video.steps = static_cast<int32_t>(video->Find("steps")->AsInt());
    handle.video.fps = video->Find("fps")->AsDouble();
    handle.video.guidance_scale = video->Find("guidance_scale")->AsDouble();
    handle.video.negative_prompt = handle.negative_prompt.c_str();
    handle.video.scheduler = handle.scheduler.c_str();
  }
}

g4v::TextOptions ReadText(const g4v_text_options* given) {
  g4v::TextOptions options;
  if (!given) return options;
  const g4v_text_options text = Read(given, g4v_text_options{}, "g4v_text_options");
  options.max_new_tokens = text.max_new_tokens;
  options.top_k = text.top_k;
  options.temperature = text.temperature;
  options.top_p = text.top_p;
  options.repetition_penalty = text.repetition_penalty;
  return options;
}

g4v::InitialLatents ReadLatents(const float* values, const int64_t* shape) {
  g4v::InitialLatents latents;
  size_t count = 1;
  for (size_t i = 0; i < latents.shape.size(); ++i) {
    constexpr int64_t kMost = 1 << 14;  // more than any video has; the product fits into 64 bits
    if (shape[i] < 1 || shape[i] > kMost) {
      throw Error(Code::InvalidArgument, "latents_shape has the size " + std::to_string(shape[i]) +
                                             " but each must be 1 to " + std::to_string(kMost));
    }
    latents.shape[i] = shape[i];
    count *= static_cast<size_t>(shape[i]);
  }
  latents.values.assign(values, values + count);
  return latents;
}

// What is set of them: nothing but what the host changed.
void ReadForHostGenerator(const g4v_video_options& video, g4v::VideoOptions& options) {
  if (video.frames != 0) options.frames = video.frames;
  if (video.width != 0) options.width = video.width;
  if (video.height != 0) options.height = video.height;
  if (video.steps != 0) options.steps = video.steps;
  if (video.fps != 0) options.fps = video.fps;
  if (!(video.guidance_scale < 0)) options.guidance_scale = video.guidance_scale;
  if (video.negative_prompt) options.negative_prompt = video.negative_prompt;
  if (video.scheduler) options.scheduler = video.scheduler;
  // Refused.
  if (video.latents) options.latents.emplace();
  if (video.video) options.video.emplace();
  if (video.strength != 0) options.strength = video.strength;
  if (video.preview_every != 0) options.preview_every = video.preview_every;
  if (video.stream_frames != 0) options.stream_frames = true;
  if (video.prompt_weighting != 0) options.prompt_weighting = true;
}

g4v::VideoOptions ReadVideo(const g4v_video_options* given, bool host_generator) {
  g4v::VideoOptions options;
  if (!given) return options;
  const g4v_video_options video = Read(given, g4v_video_options{}, "g4v_video_options");
  if (host_generator) {
    ReadForHostGenerator(video, options);
    return options;
  }
  options.frames = video.frames;
  options.width = video.width;
  options.height = video.height;
  options.steps = video.steps;
  options.fps = video.fps;
  options.guidance_scale = video.guidance_scale;
  options.negative_prompt = &Need(video.negative_prompt, "negative_prompt");
  options.scheduler = &Need(video.scheduler, "scheduler");
  if (video.latents) {
    options.latents = ReadLatents(video.latents, &Need(video.latents_shape, "latents_shape"));
  }
  if (video.video) {
    const g4v::FramesView view = *ViewOf(video.video);
    g4v::CheckVideo(view);
    options.video = g4v::CopyFrames(view);
  }
  if (video.strength != 0) options.strength = video.strength;
  options.preview_every = video.preview_every;
  options.stream_frames = video.stream_frames != 0;
  options.prompt_weighting = video.prompt_weighting != 0;
  return options;
}

}  // namespace

const char* g4v_version(void) { return G4V_VERSION; }

void g4v_shutdown(void) { g4v::CloseLibraryWork(); }

g4v_status g4v_load_defaults(g4v_load_options* options, g4v_error* error) {
  return Call(error, [&] { Write(LoadDefaults(), options, "g4v_load_options"); });
}

g4v_status g4v_text_defaults(const g4v_assistant* assistant, g4v_text_options* options,
                             g4v_error* error) {
  return Call(error,
              [&] { Write(Need(assistant, "assistant").text, options, "g4v_text_options"); });
}

g4v_status g4v_video_defaults(const g4v_assistant* assistant, g4v_video_options* options,
                              g4v_error* error) {
  return Call(error,
              [&] { Write(Need(assistant, "assistant").video, options, "g4v_video_options"); });
}

g4v_status g4v_load(const char* directory, const g4v_load_options* options,
                    g4v_assistant** assistant, g4v_error* error) {
  return Call(error, [&] {
    Need(assistant, "assistant") = nullptr;
    Need(directory, "directory");
    const g4v_load_options given = Read(options, LoadDefaults(), "g4v_load_options");
    g4v::LoadOptions load;
    load.device = &Need(given.device, "device");
    load.threads = given.threads;
    load.onnxruntime = given.onnxruntime ? given.onnxruntime : "";
    load.verify = g4v::ParseVerify(&Need(given.verify, "verify"));
    load.frame_checker = HostChecker(given.frame_checker, given.frame_checker_user);
    load.cuda_graphs = given.cuda_graphs != 0;
    load.turns = given.turns;
    load.kv_memory = given.kv_memory;
    load.kv_dtype = &Need(given.kv_dtype, "kv_dtype");
    load.spin_us = given.spin_us;
    load.prompt_lookup = given.prompt_lookup;
    load.limits = {given.max_decoded_bytes, given.max_prompt_tokens, given.max_chat_kv_bytes,
                   given.max_turn_ms,       given.max_videos,        given.max_video_pixels};
    load.generator = g4v::capi::GeneratorOf(given.generator, given.generator_user);
    auto handle = std::make_unique<g4v_assistant>();
    handle->assistant = g4v::Assistant::Load(directory, load);
    const Json info = handle->assistant->Info();
    handle->info = info.Dump();
    KeepDefaults(*handle, info);
    *assistant = handle.release();
  });
}

g4v_status g4v_assistant_wait(g4v_assistant* assistant, g4v_error* error) {
  return Call(error, [&] { Need(assistant, "assistant").assistant->WaitUntilReady(); });
}

const char* g4v_assistant_info(const g4v_assistant* assistant) {
  return assistant ? assistant->info.c_str() : "";
}

uint64_t g4v_assistant_kv_bytes(const g4v_assistant* assistant) {
  uint64_t bytes = 0;
  if (assistant) Call(nullptr, [&] { bytes = assistant->assistant->kv_bytes(); });
  return bytes;
}

const char* g4v_assistant_token(const g4v_assistant* assistant, int32_t id, size_t* size) {
  std::string_view bytes;
  if (assistant) Call(nullptr, [&] { bytes = assistant->assistant->TokenBytes(id); });
  if (size) *size = bytes.size();
  return bytes.empty() ? "" : bytes.data();
}

void g4v_assistant_free(g4v_assistant* assistant) { delete assistant; }

g4v_status g4v_chat_open(g4v_assistant* assistant, const g4v_chat_options* options, g4v_chat** chat,
                         g4v_error* error) {
  return Call(error, [&] {
    Need(chat, "chat") = nullptr;
    g4v_assistant& handle = Need(assistant, "assistant");
    g4v::ChatOptions chat_options;
    if (options) {
      const g4v_chat_options given = Read(options, g4v_chat_options{}, "g4v_chat_options");
      chat_options = {given.seed, ReadText(given.text),
                      ReadVideo(given.video, handle.host_generator)};
      if (given.system) chat_options.system = given.system;
    }
    *chat = new g4v_chat{handle.assistant->Chat(chat_options), handle.host_generator};
  });
}

g4v_status g4v_chat_send(g4v_chat* chat, const char* text, const g4v_frames* frames,
                         const g4v_turn_options* options, g4v_stream** stream, g4v_error* error) {
  return Call(error, [&] {
    Need(stream, "stream") = nullptr;
    Need(text, "text");
    g4v::TurnOptions turn;
    const g4v_frame_times* times = nullptr;
    if (options) {
      const g4v_turn_options given = Read(options, g4v_turn_options{}, "g4v_turn_options");
      turn = {ReadText(given.text), ReadVideo(given.video, Need(chat, "chat").host_generator)};
      if (given.question_frames != 0) turn.frames = given.question_frames;
      turn.make_videos = given.no_videos == 0;
      turn.max_turn_ms = given.max_turn_ms;
      turn.max_videos = given.max_videos;
      if (given.seed) turn.seed = *given.seed;
      times = given.frame_times;
      if (given.stop_count > 0) Need(given.stop, "stop");
      for (size_t i = 0; i < given.stop_count; ++i) {
        turn.stop.emplace_back(&Need(given.stop[i], "a text of stop"));
      }
      if (given.logprobs != 0) turn.logprobs = given.top_logprobs;
      if (given.logprobs == 0 && given.top_logprobs != 0) {
        throw Error(Code::InvalidArgument, "top_logprobs needs logprobs; set logprobs to 1");
      }
    }
    const TimedFrames timed(frames, times);
    auto handle = std::make_unique<g4v_stream>();
    handle->stream = Need(chat, "chat").chat->Send(text, timed.view(), turn);
    *stream = handle.release();
  });
}

g4v_status g4v_chat_append(g4v_chat* chat, const char* text, const g4v_frames* frames,
                           int32_t question_frames, const char* answer, g4v_error* error) {
  return g4v_chat_append_timed(chat, text, frames, nullptr, question_frames, answer, error);
}

g4v_status g4v_chat_append_timed(g4v_chat* chat, const char* text, const g4v_frames* frames,
                                 const g4v_frame_times* times, int32_t question_frames,
                                 const char* answer, g4v_error* error) {
  return Call(error, [&] {
    Need(text, "text");
    Need(answer, "answer");
    std::optional<int> samples;
    if (question_frames != 0) samples = question_frames;
    const TimedFrames timed(frames, times);
    Need(chat, "chat").chat->Append(text, answer, timed.view(), samples);
  });
}

g4v_status g4v_chat_fork(g4v_chat* chat, const uint64_t* seed, g4v_chat** fork, g4v_error* error) {
  return Call(error, [&] {
    Need(fork, "fork") = nullptr;
    std::optional<uint64_t> given;
    if (seed) given = *seed;
    auto handle = std::make_unique<g4v_chat>();
    handle->chat = Need(chat, "chat").chat->Fork(given);
    handle->host_generator = chat->host_generator;
    *fork = handle.release();
  });
}

g4v_status g4v_chat_truncate(g4v_chat* chat, int32_t turns, g4v_error* error) {
  return Call(error, [&] { Need(chat, "chat").chat->Truncate(turns); });
}

int32_t g4v_chat_turns(const g4v_chat* chat) {
  int32_t turns = 0;
  if (chat) Call(nullptr, [&] { turns = chat->chat->turns(); });
  return turns;
}

uint64_t g4v_chat_bytes(const g4v_chat* chat) {
  uint64_t bytes = 0;
  if (chat) Call(nullptr, [&] { bytes = chat->chat->bytes(); });
  return bytes;
}

void g4v_chat_cancel(g4v_chat* chat) {
  if (chat) Call(nullptr, [&] { chat->chat->Cancel(); });
}

int32_t g4v_chat_context_used(const g4v_chat* chat) {
  int32_t used = 0;
  if (chat) Call(nullptr, [&] { used = chat->chat->context_used(); });
  return used;
}

int32_t g4v_chat_context_length(const g4v_chat* chat) {
  return chat ? chat->chat->context_length() : 0;
}

void g4v_chat_free(g4v_chat* chat) { delete chat; }

g4v_status g4v_generate(g4v_assistant* assistant, const char* caption, uint64_t seed,
                        const g4v_video_options* options, g4v_stream** stream, g4v_error* error) {
  return Call(error, [&] {
    Need(stream, "stream") = nullptr;
    Need(caption, "caption");
    g4v_assistant& owner = Need(assistant, "assistant");
    g4v::VideoOptions video = ReadVideo(options, owner.host_generator);
    video.seed = seed;
    auto handle = std::make_unique<g4v_stream>();
    handle->stream = owner.assistant->Generate(caption, video);
    *stream = handle.release();
  });
}

g4v_status g4v_stream_next(g4v_stream* stream, int64_t timeout_ms, const g4v_event** event,
                           g4v_error* error) {
  bool in_time = true;
  const g4v_status status = Call(error, [&] {
    Need(event, "event") = nullptr;
    Need(stream, "stream");
    constexpr int64_t kLongest = 1'000'000'000;  // days; a longer wait would overflow the clock
    if (timeout_ms >= 0) {
      const auto wait = std::chrono::milliseconds(std::min(timeout_ms, kLongest));
      in_time = stream->stream->Wait(wait);
    }
    if (!in_time) return;
    stream->current = stream->stream->Next();
    if (!stream->current) return;
    *event = stream->described.Set(*stream->current);
  });
  if (in_time) return status;
  return Report(error, static_cast<Code>(G4V_TIMEOUT), "no event came in time");
}

void g4v_stream_cancel(g4v_stream* stream) {
  if (stream) Call(nullptr, [&] { stream->stream->Cancel(); });
}

void g4v_stream_free(g4v_stream* stream) { delete stream; }
