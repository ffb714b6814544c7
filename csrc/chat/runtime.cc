#include "chat/runtime.h"

#include <future>
#include <set>

#include "base/cpu.h"
#include "base/error.h"
#include "base/option.h"
#include "base/process.h"
#include "chat/turn_queue.h"
#include "ort/captured_session.h"

namespace g4v {
namespace {

std::set<std::string> TargetsOf(const ComponentsSpec& components) {
  std::set<std::string> targets;
  ForEachComponent(components, [&targets](std::string_view, const auto& component) {
    for (const Variant& variant : component.variants) targets.insert(variant.target);
  });
  return targets;
}

void CheckCudaGraphs(const ComponentsSpec& components, const ort::Targets& targets) {
  if (targets.device == "cpu") {
    const auto refused = targets.refused.find("cuda");
    throw Error(Code::Runtime,
                "cuda_graphs needs a GPU that can be used" +
                    (refused == targets.refused.end() ? std::string() : ": " + refused->second));
  }
  if (!components.encoder || !components.abstractor || !components.decoder) {
    throw Error(Code::Bundle,
                "cuda_graphs are of the abstractor, and this bundle sees no videos; load it "
                "without cuda_graphs");
  }
}

Placement MakePlacement(const std::shared_ptr<ort::Environment>& environment,
                        const ComponentsSpec& components, const LoadOptions& options) {
  CheckRange(kThreads, options.threads);
  CheckRange(kTurns, options.turns);
  CheckRange(kSpin, options.spin_us);
  CheckRange(kPromptLookup, options.prompt_lookup);
  CheckLimits(options.limits);
  if (options.cuda_graphs && options.device == "cpu") {
    throw Error(Code::InvalidArgument,
                "cuda_graphs needs a GPU, and device is \"cpu\"; load the bundle with device "
                "\"cuda\" or without cuda_graphs");
  }
  Placement placement;
  placement.options.threads = options.threads > 0 ? options.threads : UsableCores();
  placement.targets = ort::ResolveTargets(
      environment, {options.device, TargetsOf(components), options.provider_dirs});
  if (options.cuda_graphs) {
    CheckCudaGraphs(components, placement.targets);
    placement.cuda_graphs = ort::CapturedSession::kMostGraphs;
  }
  return placement;
}

template <class T>
T& Need(const std::unique_ptr<T>& part, const std::string& name) {
  if (!part) {
    throw Error(Code::Bundle,
                "this bundle has no " + name + "; use a bundle that was exported with one");
  }
  return *part;
}

}  // namespace

Runtime::Runtime(const std::filesystem::path& directory, const LoadOptions& options)
    : bundle_(Bundle::Open(directory, options.verify)),
      environment_(ort::Environment::Get({options.onnxruntime, options.library_dirs})),
      placement_(MakePlacement(environment_, manifest().components, options)),
      prompt_lookup_(options.prompt_lookup),
      limits_(options.limits) {
  const ComponentsSpec& components = manifest().components;
  const TokenizersSpec& tokenizers = manifest().tokenizers;
  // The parts are independent of each other: load them side by side.
  std::future<void> encoders = StartAsync([this, &components, &options] {
    if (components.encoder) {
      frame_encoder_ = std::make_unique<FrameEncoder>(environment_, bundle_, placement_);
    }
    if (components.encoder && components.abstractor && components.decoder) {
      video_encoder_ =
          std::make_unique<VideoEncoder>(environment_, bundle_, placement_, *frame_encoder_);
    }
    frame_checker_ = std::make_unique<FrameChecker>(environment_, bundle_, placement_,
                                                    frame_encoder_.get(), options.frame_checker);
  });
  if (tokenizers.decoder) tokenizer_ = Tokenizer::Load(bundle_.ReadText(tokenizers.decoder->file));
  if (tokenizers.text_encoder) {
    caption_tokenizer_ = Tokenizer::Load(bundle_.ReadText(tokenizers.text_encoder->file));
  }
  if (components.decoder) {
    decoder_ = Decoder::Make(environment_, bundle_, placement_,
                             {placement_.options.threads, options.kv_memory, options.kv_dtype,
                              std::chrono::microseconds(options.spin_us)});
  }
  if (manifest().prompt && tokenizer_) {
    prompt_.emplace(*manifest().prompt, *tokenizer_);
  }
  encoders.get();
  if (decoder_) {
    turns_ = std::make_unique<TurnQueue>(*decoder_, options.turns);
  }
  if (options.generator) {
    maker_ = std::make_unique<HostVideoMaker>(options.generator, limits_);
  } else if (components.text_encoder && (components.unet || components.transformer) &&
             components.vae_decoder && caption_tokenizer_) {
    generator_ =
        std::make_unique<VideoGenerator>(environment_, bundle_, *caption_tokenizer_, placement_);
    maker_ = std::make_unique<BundleVideoMaker>(*generator_);
  }
  if (maker_) queue_ = std::make_unique<VideoQueue>(*maker_, *frame_checker_);
}

Runtime::~Runtime() = default;

Decoder& Runtime::decoder() { return Need(decoder_, "decoder"); }
const Tokenizer& Runtime::tokenizer() const { return Need(tokenizer_, "decoder tokenizer"); }
const PromptTemplate& Runtime::prompt() const {
  if (!decoder_) {
    throw Error(Code::Bundle,
                std::string("this bundle has no decoder, so it cannot chat") +
                    (generator_ ? "; it makes videos of captions (g4v generate)" : "") +
                    "; export it with a language model (--llm) to chat");
  }
  return Require(prompt_, "prompt template");
}
const TextGenerationSpec& Runtime::text_defaults() const {
  return Require(manifest().text_generation, "text generation defaults");
}
VideoEncoder& Runtime::video_encoder() { return Need(video_encoder_, "video encoder"); }
VideoQueue& Runtime::queue() { return Need(queue_, "video generator"); }
TurnQueue& Runtime::turns() { return Need(turns_, "decoder"); }

VideoRequest Runtime::ResolveVideo(const VideoOptions& first, const VideoOptions& second) const {
  Need(maker_, "video generator");
  VideoRequest request;
  if (has_host_generator()) {
    request.asked = ResolveHostOptions(first, second);
    const VideoOptions& asked = request.asked;
    if (asked.frames && asked.width && asked.height) {
      request.spec.frames = *asked.frames;
      request.spec.width = *asked.width;
      request.spec.height = *asked.height;
      CheckPixels(limits_, request.spec);
    }
    return request;
  }
  for (const VideoOptions* options : {&first, &second}) {
    Overlay(options->preview_every, request.preview_every);
    Overlay(options->stream_frames, request.stream_frames);
  }
  CheckRange(kPreviewEvery, request.preview_every);
  request.spec =
      ResolveVideoOptions(Require(manifest().video_generation, "video generation defaults"),
                          manifest().components, first, second);
  CheckPixels(limits_, request.spec);
  CheckProfiles(request.spec, manifest().components, placement_.targets);
  return request;
}

}  // namespace g4v
