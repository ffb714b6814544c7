// The networks that make videos: UNet or transformer, and the two halves of the VAE.
#include "bundle/manifest_reader.h"

namespace g4v::manifest {
namespace {

constexpr double kMostStatistic = 1e6;  // of a mean or a std of latents
constexpr double kLeastDeviation = 1e-6;
constexpr int64_t kMostPatch = 64;  // latents along a side of a token
// Of a causal VAE; so that no product of its sizes leaves 64 bits.
constexpr int64_t kMostFramesPerLatent = 64;
constexpr int64_t kMostCacheChannels = 1 << 16;
constexpr int64_t kMostCacheScale = 32;
constexpr size_t kMostCaches = 512;

CausalSpec ReadCausal(const JsonCursor& cursor) {
  cursor.ExpectKeys({"frames_per_latent", "caches"});
  CausalSpec spec;
  spec.frames_per_latent =
      static_cast<int>(cursor.Get("frames_per_latent").AsInt(1, kMostFramesPerLatent));
  const JsonCursor caches = cursor.Get("caches");
  for (const JsonCursor& element : caches.Elements()) {
    element.ExpectKeys({"channels", "scale"});
    spec.caches.push_back({static_cast<int>(element.Get("channels").AsInt(1, kMostCacheChannels)),
                           static_cast<int>(element.Get("scale").AsInt(1, kMostCacheScale))});
  }
  if (spec.caches.empty() || spec.caches.size() > kMostCaches) {
    caches.Fail("must have 1 to " + std::to_string(kMostCaches) + " elements");
  }
  return spec;
}

// scale_factor: of the decoder, than which no noise is larger.
WholeSpec ReadWhole(const JsonCursor& cursor, int scale_factor) {
  cursor.ExpectKeys({"frames_per_latent", "timestep", "noise_scales"});
  WholeSpec spec;
  spec.frames_per_latent =
      static_cast<int>(cursor.Get("frames_per_latent").AsInt(1, kMostFramesPerLatent));
  if (const auto found = cursor.Find("timestep")) spec.timestep = found->AsBool();
  if (const auto found = cursor.Find("noise_scales")) {
    for (const JsonCursor& element : found->Elements()) {
      spec.noise_scales.push_back(static_cast<int>(element.AsInt(1, scale_factor)));
    }
    if (spec.noise_scales.size() > kMostCaches) {
      found->Fail("must have at most " + std::to_string(kMostCaches) + " elements");
    }
  }
  return spec;
}

// A number for each channel of the latents.
std::vector<double> ReadStatistic(const JsonCursor& object, std::string_view key, int channels,
                                  double least) {
  std::vector<double> values;
  const auto cursor = object.Find(key);
  if (!cursor) return values;
  for (const JsonCursor& element : cursor->Elements()) {
    values.push_back(ReadFrom(element, least, kMostStatistic));
  }
  if (values.size() != static_cast<size_t>(channels)) {
    cursor->Fail("must have " + std::to_string(channels) + " numbers, one for each channel");
  }
  return values;
}

}  // namespace

UnetSpec ReadUnet(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys({"latent_channels", "cross_attention_dim", "timestep_dtype", "variants"});
  UnetSpec spec;
  spec.latent_channels = ReadSize(cursor, "latent_channels");
  spec.cross_attention_dim = ReadSize(cursor, "cross_attention_dim");
  if (const auto found = cursor.Find("timestep_dtype")) {
    spec.whole_timesteps = ReadWord(*found, {"float32", "int64"}) == "int64";
  }
  spec.variants = ReadVariants(cursor, manifest);
  return spec;
}

TransformerSpec ReadTransformer(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys({"latent_channels", "cross_attention_dim", "patch_size", "positions",
                     "attention_mask", "frame_seconds", "variants"});
  TransformerSpec spec;
  spec.latent_channels = ReadSize(cursor, "latent_channels");
  spec.cross_attention_dim = ReadSize(cursor, "cross_attention_dim");
  const JsonCursor patch = cursor.Get("patch_size");
  const auto sides = patch.Elements();
  if (sides.size() != 3) patch.Fail("must have 3 integers: along frames, height and width");
  for (size_t i = 0; i < 3; ++i) {
    spec.patch_size[i] = static_cast<int>(sides[i].AsInt(1, i == 0 ? 1 : kMostPatch));
  }
  if (cursor.Find("positions")) spec.positions = ReadSize(cursor, "positions");
  if (const auto found = cursor.Find("attention_mask")) spec.attention_mask = found->AsBool();
  if (const auto found = cursor.Find("frame_seconds")) spec.frame_seconds = found->AsBool();
  spec.variants = ReadVariants(cursor, manifest);
  return spec;
}

VaeDecoderSpec ReadVaeDecoder(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys({"latent_channels", "scale_factor", "scaling_factor", "latents_mean",
                     "latents_std", "causal", "whole", "variants"});
  VaeDecoderSpec spec;
  spec.latent_channels = ReadSize(cursor, "latent_channels");
  spec.scale_factor = ReadSize(cursor, "scale_factor");
  spec.scaling_factor = ReadPositive(cursor.Get("scaling_factor"));
  const int channels = spec.latent_channels;
  spec.latents_mean = ReadStatistic(cursor, "latents_mean", channels, -kMostStatistic);
  spec.latents_std = ReadStatistic(cursor, "latents_std", channels, kLeastDeviation);
  if (const auto found = cursor.Find("causal")) spec.causal = ReadCausal(*found);
  if (const auto found = cursor.Find("whole")) {
    if (spec.causal) found->Fail("is beside \"causal\": a decoder takes chunks or whole videos");
    spec.whole = ReadWhole(*found, spec.scale_factor);
  }
  spec.variants = ReadVariants(cursor, manifest);
  return spec;
}

VaeEncoderSpec ReadVaeEncoder(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys({"variants"});
  return {ReadVariants(cursor, manifest)};
}

}  // namespace g4v::manifest
