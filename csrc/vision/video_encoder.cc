#include "vision/video_encoder.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/option.h"
#include "base/sha256.h"

namespace g4v {
namespace {

// Frames that are encoded together where they have tokens of their own: attention takes memory for each
// pair of tokens of a frame, 50 MB of a frame of 1,024 tokens and 12 heads.
constexpr size_t kFramesAtOnce = 4;

// Keys that are all different, for frames that no other video can have.
std::vector<FrameKey> KeysByPlace(size_t count) {
  std::vector<FrameKey> keys(count);
  for (uint64_t place = 0; place < count; ++place) {
    std::memcpy(keys[place].data(), &place, sizeof place);
  }
  return keys;
}

void CheckDecodedBytes(int64_t count, int64_t height, int64_t width, uint64_t most_bytes) {
  const uint64_t bytes = static_cast<uint64_t>(count) * static_cast<uint64_t>(height) *
                         static_cast<uint64_t>(width) * 3;
  if (most_bytes == 0 || bytes <= most_bytes) return;
  throw Error(Code::Video, "the " + std::to_string(count) + " frames of " + std::to_string(width) +
                               "x" + std::to_string(height) + " to look at take " +
                               std::to_string(bytes) + " bytes, and max_decoded_bytes is " +
                               std::to_string(most_bytes) +
                               "; look at fewer frames or pass a smaller video");
}

int MostSamples(const ComponentsSpec& components, const ort::Targets& targets) {
  int64_t most = kFrames.most;
  const auto limit = [&](const std::vector<Variant>& variants, const std::string& name) {
    const std::map<std::string, Span>& profile = Place(variants, targets, name).variant.profile;
    const auto frames = profile.find("frames");
    if (frames != profile.end()) most = std::min<int64_t>(most, frames->second.most);
  };
  limit(components.encoder->variants, "encoder");
  limit(components.abstractor->variants, "abstractor");
  return static_cast<int>(most);
}

}  // namespace

VideoEncoder::VideoEncoder(const std::shared_ptr<ort::Environment>& environment,
                           const Bundle& bundle, const Placement& placement, FrameEncoder& encoder)
    : encoder_(encoder),
      abstractor_(environment, bundle, placement),
      samples_(bundle.manifest().frame_sampling.frames),
      by_second_{bundle.manifest().frame_sampling.fps,
                 bundle.manifest().frame_sampling.skip_seconds,
                 bundle.manifest().frame_sampling.rule == "floor"},
      most_samples_(MostSamples(bundle.manifest().components, placement.targets)) {}

Frames VideoEncoder::Sample(const FramesView& video, std::optional<int> samples,
                            uint64_t most_bytes) const {
  CheckVideo(video);
  if (samples) CheckRange({kFrames.name, kFrames.least, most_samples_}, *samples);
  const int count = samples.value_or(samples_);
  const std::vector<int64_t> indices = Choose(video, count);
  CheckDecodedBytes(static_cast<int64_t>(indices.size()), video.height, video.width, most_bytes);
  FramesView timed = video;
  FrameTimes times;
  if (per_frame() && !timed.times) {
    times = TimesAtRate(video.count, video.rate > 0 ? video.rate : kAssumedRate);
    timed.times = &times;
  }
  return CopyFrames(timed, indices);
}

std::vector<int64_t> VideoEncoder::Choose(const FramesView& video, int count) const {
  const auto most = static_cast<int>(std::min<int64_t>(video.count, count));
  if (!per_frame()) {
    if (video.count > count) return SampleFrames(video.count, count);
    std::vector<int64_t> all(static_cast<size_t>(video.count));
    std::iota(all.begin(), all.end(), 0);
    return all;
  }
  if (by_second_.fps > 0 && video.rate > 0) {
    return FramesBySecond(video.count, video.rate, count, by_second_);
  }
  return by_second_.floor ? FloorFrames(video.count, most) : SpreadFrames(video.count, most);
}

VideoEncoder::Encoded VideoEncoder::Encode(const Frames& frames, std::span<const FrameKey> keys,
                                           FrameMemory& memory, ort::RunControl* control) {
  if (per_frame()) return EncodePerFrame(frames, keys, memory, control);
  if (!abstractor_.keeps_frames()) {
    return {abstractor_.Run(encoder_.Encode(frames, control), Most(frames.count), control),
            frames.count};
  }
  if (!encoder_.frame_by_frame()) {
    // The features of a frame depend on those around it: there is nothing to keep.
    FrameMemory once;
    return EncodeMissing(frames, KeysByPlace(keys.size()), once, control);
  }
  return EncodeMissing(frames, keys, memory, control);
}

VideoEncoder::Encoded VideoEncoder::EncodePerFrame(const Frames& frames,
                                                   std::span<const FrameKey> keys,
                                                   FrameMemory& memory, ort::RunControl* control) {
  const FrameMemory::Plan plan =
      memory.Arrange(keys, abstractor_.values_per_frame(encoder_.tokens_per_frame()),
                     static_cast<int64_t>(keys.size()));
  std::span<const FrameMemory::Plan::Missing> left = plan.missing;
  while (!left.empty()) {
    const auto group = left.first(std::min(left.size(), kFramesAtOnce));
    std::vector<int64_t> indices;
    for (const auto& missing : group) indices.push_back(missing.frame);
    abstractor_.Fill(encoder_.Encode(CopyFrames(View(frames), indices), control), group, memory,
                     control);
    left = left.subspan(group.size());
  }
  memory.Complete(plan, keys);
  return {abstractor_.Gather(plan, memory), static_cast<int64_t>(plan.missing.size())};
}

VideoEncoder::Encoded VideoEncoder::EncodeMissing(const Frames& frames,
                                                  std::span<const FrameKey> keys,
                                                  FrameMemory& memory, ort::RunControl* control) {
  const FrameMemory::Plan plan =
      memory.Arrange(keys, abstractor_.values_per_frame(encoder_.tokens_per_frame()),
                     Most(static_cast<int64_t>(keys.size())));
  std::vector<int64_t> fresh;
  for (const auto& missing : plan.missing) fresh.push_back(missing.frame);
  FrameEncoder::Features features{{}, encoder_.ShapeOf(0)};
  if (!fresh.empty()) features = encoder_.Encode(CopyFrames(View(frames), fresh), control);
  return {abstractor_.Run(features, keys, plan, memory, control),
          static_cast<int64_t>(fresh.size())};
}

std::vector<FrameKey> KeysOf(const Frames& frames) {
  const auto size = static_cast<size_t>(frames.height) * static_cast<size_t>(frames.width) * 3;
  const int sizes[] = {frames.height, frames.width};
  std::vector<FrameKey> keys;
  for (int64_t i = 0; i < frames.count; ++i) {
    Sha256 hash;
    hash.Update({reinterpret_cast<const uint8_t*>(sizes), sizeof sizes});
    hash.Update({frames.pixels->data() + static_cast<size_t>(i) * size, size});
    keys.push_back(hash.Finish());
  }
  return keys;
}

}  // namespace g4v
