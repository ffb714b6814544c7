#include "vision/frame_encoder.h"

namespace g4v {

FrameEncoder::FrameEncoder(std::shared_ptr<ort::Environment> environment, const Bundle& bundle,
                           const Placement& placement)
    : spec_(Require(bundle.manifest().components.encoder, "encoder")),
      format_{spec_.image_size,
              spec_.mean,
              spec_.std,
              spec_.resampling == "lanczos" ? Resampling::kLanczos : Resampling::kBicubic,
              spec_.longest_edge,
              spec_.shortest_edge},
      session_(std::move(environment), GraphFor(bundle, spec_.variants, placement, "encoder")) {}

std::vector<int64_t> FrameEncoder::ShapeOf(int64_t frames) const {
  return {frames, spec_.tokens_per_frame, spec_.hidden_size};
}

FrameEncoder::Features FrameEncoder::Encode(const Frames& frames, ort::RunControl* control) {
  const int64_t size = spec_.image_size;
  const std::vector<float> pixels =
      Preprocess(frames.pixels->data(), frames.count, frames.height, frames.width, format_);
  Features features;
  features.shape = ShapeOf(frames.count);
  features.values.resize(
      static_cast<size_t>(features.shape[0] * features.shape[1] * features.shape[2]));
  const ort::NamedTensor in{"pixel_values", ort::View(pixels, {frames.count, 3, size, size})};
  const ort::NamedTensor out{"features", ort::View(features.values, features.shape)};
  session_.Run({&in, 1}, {&out, 1}, control);
  return features;
}

}  // namespace g4v
