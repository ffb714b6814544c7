#include "chat/assistant.h"

#include <algorithm>
#include <random>

#include "base/memory.h"
#include "chat/chat_state.h"
#include "chat/runtime.h"
#include "chat/stream_state.h"
#include "decoder/decoder.h"
#include "diffusion/prompt_weights.h"

namespace g4v {
namespace {

void AddComponent(Json::Object& components, const std::string& name,
                  const std::vector<Variant>& variants, const ort::Targets& targets) {
  const Placed placed = Place(variants, targets, name);
  components.emplace_back(name,
                          Json::Object{{"target", placed.variant.target},
                                       {"precision", placed.variant.precision},
                                       {"provider", RunsPacked(placed) ? "g4v" : placed.device}});
}

Json TextDefaults(const TextGenerationSpec& text) {
  return Json::Object{{"max_new_tokens", text.max_new_tokens},
                      {"temperature", text.temperature},
                      {"top_k", text.top_k},
                      {"top_p", text.top_p},
                      {"repetition_penalty", text.repetition_penalty}};
}

Json VideoDefaults(const VideoGenerationSpec& video) {
  Json::Array schedulers(video.schedulers.begin(), video.schedulers.end());
  return Json::Object{{"frames", video.frames},
                      {"width", video.width},
                      {"height", video.height},
                      {"fps", video.fps},
                      {"steps", video.steps},
                      {"guidance_scale", video.guidance_scale},
                      {"negative_prompt", video.negative_prompt},
                      {"scheduler", video.scheduler.type},
                      {"schedulers", std::move(schedulers)}};
}

}  // namespace

std::shared_ptr<Assistant> Assistant::Load(const std::filesystem::path& directory,
                                           const LoadOptions& options) {
  std::shared_ptr<Runtime> runtime(new Runtime(directory, options), [](Runtime* loaded) {
    delete loaded;
    ReturnFreedMemory();
  });
  if (!runtime->generator()) ReturnFreedMemory();  // else when the video generator is loaded too
  return std::make_shared<Assistant>(std::move(runtime));
}

Assistant::Assistant(std::shared_ptr<Runtime> runtime) : runtime_(std::move(runtime)) {}
Assistant::~Assistant() = default;

std::shared_ptr<Chat> Assistant::Chat(const ChatOptions& options) {
  return std::make_shared<g4v::Chat>(std::make_shared<ChatState>(runtime_.share(), options));
}

std::shared_ptr<Stream> Assistant::Generate(const std::string& prompt,
                                            const VideoOptions& options) {
  std::string caption = CleanText(prompt, "the prompt");
  VideoRequest request = runtime_->ResolveVideo(options, {});
  request.caption = std::move(caption);
  if (!runtime_->has_host_generator()) {
    const ComponentsSpec& components = runtime_->manifest().components;
    request.latents = CheckLatents(options.latents, request.spec, components);
    request.source = ResolveSource(options, request.spec, components, runtime_->targets());
    request.prompt_weighting = options.prompt_weighting.value_or(false);
    if (request.prompt_weighting) {  // so that what is wrong is told before any work
      ParsePromptWeights(request.caption, "the prompt");
      ParsePromptWeights(request.spec.negative_prompt, "negative_prompt");
    }
  }
  request.seed = options.seed ? *options.seed : std::random_device()();
  auto state = std::make_shared<StreamState>(runtime_->environment());
  // Weak: the stream would own itself.
  state->SetLook([weak = std::weak_ptr(state)] {
    const std::shared_ptr<StreamState> stream = weak.lock();
    if (!stream || !stream->jobs_done()) return;
    DoneEvent done;
    done.finish_reason = "stop";
    done.timings.video_ms = stream->job_ms();
    done.timings.total_ms = stream->ElapsedMs();
    stream->End(std::move(done), nullptr, [] {}, [] {});
  });
  auto handle = std::make_shared<Stream>(state, runtime_.share());
  runtime_->queue().Submit(
      state, 0, std::move(request),
      VideoQueue::Failure::Fail);  // on this thread, so that requests keep their order
  return handle;
}

SourceSize Assistant::CheckSource(const VideoOptions& options) const {
  VideoOptions asked = options;
  asked.video.emplace();  // refused where a host's generator makes the videos
  const VideoGenerationSpec spec = runtime_->ResolveVideo(asked, {}).spec;
  FirstStep(options, spec, runtime_->manifest().components);
  return {spec.frames, spec.height, spec.width};
}

Json Assistant::Info() const {
  const Manifest& manifest = runtime_->manifest();
  const ComponentsSpec& parts = manifest.components;
  const ort::Targets& targets = runtime_->targets();
  Json::Object components;
  const bool host_generator = runtime_->has_host_generator();
  ForEachComponent(parts, [&](std::string_view name, const auto& component) {
    const bool generates = name == "text_encoder" || name == "unet" || name == "transformer" ||
                           name == "vae_decoder" || name == "vae_encoder";
    if (generates && host_generator) return;  // they are not loaded
    AddComponent(components, std::string(name), component.variants, targets);
  });
  Json::Object refused;
  for (const auto& [target, reason] : targets.refused) refused.emplace_back(target, reason);
  Json::Object info{{"name", manifest.name},
                    {"assistant", manifest.assistant},
                    {"description", manifest.description},
                    {"device", targets.device},
                    {"onnxruntime", runtime_->environment()->version()},
                    {"components", std::move(components)},
                    {"not_used", std::move(refused)},
                    {"context_length", parts.decoder ? parts.decoder->context_length : 0},
                    {"frame_samples", manifest.frame_sampling.frames}};
  if (runtime_->sees_videos()) {
    info.emplace_back("most_frame_samples", runtime_->video_encoder().most_samples());
  }
  const FrameSamplingSpec& sampling = manifest.frame_sampling;
  Json::Object how;
  if (sampling.fps > 0) how = {{"fps", sampling.fps}, {"skip_seconds", sampling.skip_seconds}};
  if (sampling.rule != "spread") how.emplace_back("rule", sampling.rule);
  if (!how.empty()) info.emplace_back("frame_sampling", std::move(how));
  if (manifest.text_generation) info.emplace_back("text", TextDefaults(*manifest.text_generation));
  if (host_generator) {
    info.emplace_back("generator", "host");
  } else if (manifest.video_generation) {
    info.emplace_back("video", VideoDefaults(*manifest.video_generation));
  }
  if (parts.frame_checker) {
    info.emplace_back("frame_checker",
                      Json::Object{{"withhold_above", parts.frame_checker->withhold_above}});
  }
  const Limits& limits = runtime_->limits();
  const auto number = [](uint64_t value) {
    return static_cast<int64_t>(std::min<uint64_t>(value, INT64_MAX));
  };
  info.emplace_back("limits", Json::Object{{"max_decoded_bytes", number(limits.max_decoded_bytes)},
                                           {"max_prompt_tokens", limits.max_prompt_tokens},
                                           {"max_chat_kv_bytes", number(limits.max_chat_kv_bytes)},
                                           {"max_turn_ms", limits.max_turn_ms},
                                           {"max_videos", limits.max_videos},
                                           {"max_video_pixels", number(limits.max_video_pixels)}});
  info.emplace_back("licences", manifest.licences);
  return info;
}

std::vector<float> Assistant::ScoreFrames(const FramesView& frames) {
  CheckVideo(frames);
  ort::RunControl control(runtime_->environment());  // the end of the process stops it
  return runtime_->frame_checker().Score(CopyFrames(frames), &control);
}

uint64_t Assistant::kv_bytes() const {
  return runtime_->manifest().components.decoder ? runtime_->decoder().kv_bytes() : 0;
}

std::string_view Assistant::TokenBytes(int32_t id) const {
  return runtime_->tokenizer().TokenBytes(id);
}

void Assistant::WaitUntilReady() {
  if (VideoGenerator* const generator = runtime_->generator()) generator->WaitUntilReady();
}

}  // namespace g4v
