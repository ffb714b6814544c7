#include "chat/video_encoder.h"

#include <cstring>
#include <numeric>

#include "base/error.h"
#include "video/preprocess.h"

namespace g4v {
namespace {

constexpr int64_t kLongestSide = 1 << 15;

std::string GraphPath(const Bundle& bundle, const std::vector<Variant>& variants,
                      const std::string& device, const std::string& component) {
  return bundle.PathOf(SelectVariant(variants, device, component).graph).string();
}

}  // namespace

VideoEncoder::VideoEncoder(std::shared_ptr<ort::Environment> environment, const Bundle& bundle,
                           const ort::SessionOptions& options)
    : encoder_(Require(bundle.manifest().components.encoder, "encoder")),
      abstractor_(Require(bundle.manifest().components.abstractor, "abstractor")),
      samples_(bundle.manifest().frame_samples),
      encoder_session_(environment, GraphPath(bundle, encoder_.variants, options.device, "encoder"),
                       options),
      abstractor_session_(environment,
                          GraphPath(bundle, abstractor_.variants, options.device, "abstractor"),
                          options) {}

Frames VideoEncoder::Sample(const FramesView& video) const {
  const auto side = [](int64_t length) { return length >= 1 && length <= kLongestSide; };
  if (!video.pixels || video.count < 1 || !side(video.height) || !side(video.width)) {
    throw Error(Code::InvalidArgument,
                "frames must be uint8 [T, H, W, 3] with T at least 1 and H and W from 1 to " +
                    std::to_string(kLongestSide));
  }
  std::vector<int64_t> indices(static_cast<size_t>(std::min<int64_t>(video.count, samples_)));
  std::iota(indices.begin(), indices.end(), 0);
  if (video.count > samples_) indices = SampleFrames(video.count, samples_);
  const size_t bytes = static_cast<size_t>(video.height * video.width * 3);
  auto pixels = std::make_shared<std::vector<uint8_t>>(indices.size() * bytes);
  for (size_t i = 0; i < indices.size(); ++i) {
    std::memcpy(pixels->data() + i * bytes, video.pixels + static_cast<size_t>(indices[i]) * bytes,
                bytes);
  }
  return {std::move(pixels), static_cast<int64_t>(indices.size()), static_cast<int>(video.height),
          static_cast<int>(video.width)};
}

VideoTokens VideoEncoder::Encode(const Frames& frames, ort::RunControl* control) {
  const int64_t size = encoder_.image_size;
  const std::vector<float> pixels =
      Preprocess(frames.pixels->data(), frames.count, frames.height, frames.width,
                 encoder_.image_size, encoder_.mean, encoder_.std);
  const std::vector<int64_t> shape = {frames.count, encoder_.tokens_per_frame,
                                      encoder_.hidden_size};
  std::vector<float> features(static_cast<size_t>(shape[0] * shape[1] * shape[2]));
  const ort::NamedTensor in{"pixel_values", ort::View(pixels, {frames.count, 3, size, size})};
  const ort::NamedTensor between{"features", ort::View(features, shape)};
  encoder_session_.Run({&in, 1}, {&between, 1}, control);

  auto tokens =
      std::make_shared<std::vector<float>>(static_cast<size_t>(abstractor_.output_tokens) *
                                           static_cast<size_t>(abstractor_.output_size));
  const ort::NamedTensor out{
      "video_tokens", ort::View(*tokens, {abstractor_.output_tokens, abstractor_.output_size})};
  abstractor_session_.Run({&between, 1}, {&out, 1}, control);
  return tokens;
}

}  // namespace g4v
