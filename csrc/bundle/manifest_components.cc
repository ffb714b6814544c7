#include <algorithm>
#include <cmath>

#include "bundle/manifest_reader.h"

namespace g4v::manifest {

int ReadSize(const JsonCursor& object, std::string_view key) {
  return static_cast<int>(object.Get(key).AsInt(1, kMaxSize));
}

double ReadPositive(const JsonCursor& cursor) {
  const double value = cursor.AsDouble();
  if (!(value > 0.0)) cursor.Fail("must be greater than 0");
  return value;
}

double ReadFrom(const JsonCursor& cursor, double lowest, double highest) {
  const double value = cursor.AsDouble();
  if (!(value >= lowest && value <= highest)) cursor.Fail("is out of range");
  return value;
}

std::string ReadWord(const JsonCursor& cursor, std::span<const std::string_view> words) {
  const std::string& value = cursor.AsString();
  if (std::find(words.begin(), words.end(), value) == words.end()) {
    std::string known;
    for (const std::string_view word : words) {
      known += (known.empty() ? "\"" : ", \"") + std::string(word) + "\"";
    }
    cursor.Fail("is \"" + value + "\" but must be one of " + known);
  }
  return value;
}

std::optional<int32_t> ReadOptionalId(const JsonCursor& object, std::string_view key) {
  const auto cursor = object.FindNotNull(key);
  if (!cursor) return std::nullopt;
  return static_cast<int32_t>(cursor->AsInt(0, kMaxId));
}

std::string ReadListedFile(const JsonCursor& cursor, const Manifest& manifest) {
  const std::string& path = cursor.AsString();
  if (!manifest.files.contains(path))
    cursor.Fail("names \"" + path + "\", which \"files\" does not list");
  return path;
}

namespace {

constexpr int64_t kMostEdge = 4096;   // pixels of a frame that is resized first
constexpr double kMostChannel = 1e6;  // of a mean or a std, of pixels from 0 to 1

std::array<float, 3> ReadChannels(const JsonCursor& cursor) {
  const auto elements = cursor.Elements();
  if (elements.size() != 3) cursor.Fail("must have 3 numbers, one for each channel");
  std::array<float, 3> values;
  for (size_t i = 0; i < 3; ++i) {
    const double value = elements[i].AsDouble();
    if (!(std::fabs(value) <= kMostChannel)) elements[i].Fail("is out of range");
    values[i] = static_cast<float>(value);
  }
  return values;
}

std::map<std::string, Span> ReadProfile(const JsonCursor& object) {
  std::map<std::string, Span> profile;
  for (const auto& [name, cursor] : object.Members()) {
    const auto sizes = cursor.Elements();
    if (sizes.size() != 3) cursor.Fail("must have 3 numbers: least, usual, most");
    Span span;
    int least = 1;
    size_t next = 0;
    for (int* size : {&span.least, &span.usual, &span.most}) {
      *size = static_cast<int>(sizes[next++].AsInt(least, kMaxId));
      least = *size;
    }
    profile.emplace(name, span);
  }
  return profile;
}

EncoderSpec ReadEncoder(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys({"image_size", "mean", "std", "hidden_size", "tokens_per_frame", "flavour",
                     "resampling", "longest_edge", "shortest_edge", "variants"});
  EncoderSpec spec;
  spec.image_size = ReadSize(cursor, "image_size");
  spec.mean = ReadChannels(cursor.Get("mean"));
  spec.std = ReadChannels(cursor.Get("std"));
  for (const float value : spec.std) {
    if (!(value > 0.0f)) cursor.Get("std").Fail("must be greater than 0");
  }
  spec.hidden_size = ReadSize(cursor, "hidden_size");
  spec.tokens_per_frame = ReadSize(cursor, "tokens_per_frame");
  spec.flavour = ReadWord(cursor.Get("flavour"), {"clip", "siglip", "mplug-owl-video"});
  if (const auto found = cursor.Find("resampling")) {
    spec.resampling = ReadWord(*found, {"bicubic", "lanczos"});
  }
  if (const auto found = cursor.Find("longest_edge")) {
    spec.longest_edge = static_cast<int>(found->AsInt(1, kMostEdge));
  }
  if (const auto found = cursor.Find("shortest_edge")) {
    spec.shortest_edge = static_cast<int>(found->AsInt(1, kMostEdge));
    if (spec.longest_edge != 0) found->Fail("cannot be there beside \"longest_edge\"");
  }
  spec.variants = ReadVariants(cursor, manifest);
  return spec;
}

ConnectorSpec ReadConnector(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys({"kind", "hidden_size", "output_tokens", "output_size", "variants"});
  ConnectorSpec spec;
  if (const auto found = cursor.Find("kind")) {
    spec.kind = ReadWord(*found, {"mplug-owl", "pixel-shuffle", "mlp"});
  }
  spec.hidden_size = ReadSize(cursor, "hidden_size");
  spec.output_tokens = ReadSize(cursor, "output_tokens");
  spec.output_size = ReadSize(cursor, "output_size");
  spec.variants = ReadVariants(cursor, manifest, spec.per_frame() ? "" : "memory_graph");
  return spec;
}

DecoderSpec ReadDecoder(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys({"vocab_size", "hidden_size", "layers", "heads", "kv_heads", "head_dim",
                     "context_length", "embedding", "variants"});
  DecoderSpec spec;
  spec.vocab_size = ReadSize(cursor, "vocab_size");
  spec.hidden_size = ReadSize(cursor, "hidden_size");
  spec.layers = ReadSize(cursor, "layers");
  spec.heads = ReadSize(cursor, "heads");
  spec.kv_heads = ReadSize(cursor, "kv_heads");
  spec.head_dim = ReadSize(cursor, "head_dim");
  spec.context_length = ReadSize(cursor, "context_length");
  if (spec.heads % spec.kv_heads != 0)
    cursor.Get("kv_heads").Fail("must divide the number of heads");
  const JsonCursor embedding = cursor.Get("embedding");
  embedding.ExpectKeys({"file", "dtype"});
  spec.embedding.file = ReadListedFile(embedding.Get("file"), manifest);
  spec.embedding.dtype = ReadWord(embedding.Get("dtype"), {"float32", "float16"});
  const uint64_t element = spec.embedding.dtype == "float32" ? 4 : 2;
  const uint64_t expected =
      static_cast<uint64_t>(spec.vocab_size) * static_cast<uint64_t>(spec.hidden_size) * element;
  if (manifest.files.at(spec.embedding.file).bytes != expected) {
    embedding.Fail("must have " + std::to_string(expected) + " bytes (vocab_size x hidden_size)");
  }
  spec.variants = ReadVariants(cursor, manifest, "packed");
  return spec;
}

TextEncoderSpec ReadTextEncoder(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys(
      {"max_length", "hidden_size", "attention_mask", "zero_padding", "load", "variants"});
  TextEncoderSpec spec;
  spec.max_length = ReadSize(cursor, "max_length");
  spec.hidden_size = ReadSize(cursor, "hidden_size");
  if (const auto found = cursor.Find("attention_mask")) spec.attention_mask = found->AsBool();
  if (const auto found = cursor.Find("zero_padding")) spec.zero_padding = found->AsBool();
  if (const auto found = cursor.Find("load")) {
    spec.load_per_video = ReadWord(*found, {"with_bundle", "per_video"}) == "per_video";
  }
  spec.variants = ReadVariants(cursor, manifest);
  return spec;
}

FrameCheckerSpec ReadFrameChecker(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys({"hidden_size", "withhold_above", "variants"});
  FrameCheckerSpec spec;
  spec.hidden_size = ReadSize(cursor, "hidden_size");
  spec.withhold_above = ReadFrom(cursor.Get("withhold_above"), 0.0, 1.0);
  spec.variants = ReadVariants(cursor, manifest);
  return spec;
}

// Widths that two components share.
void CheckFit(const JsonCursor& components, const ComponentsSpec& spec) {
  const auto expect = [&components](int left, int right, const std::string& text) {
    if (left != right) {
      components.Fail("do not fit together: " + text + " (" + std::to_string(left) + " and " +
                      std::to_string(right) + "); export the bundle again");
    }
  };
  if (spec.encoder && spec.abstractor) {
    expect(spec.encoder->hidden_size, spec.abstractor->hidden_size,
           "encoder.hidden_size and abstractor.hidden_size differ");
  }
  if (spec.encoder && spec.abstractor && spec.abstractor->per_frame() &&
      spec.encoder->flavour == "mplug-owl-video") {
    components.Fail("do not fit together: an abstractor of the kind \"" + spec.abstractor->kind +
                    "\" needs features of single frames, and an encoder of the flavour \"" +
                    spec.encoder->flavour + "\" mixes frames; export the bundle again");
  }
  if (spec.abstractor && spec.decoder) {
    expect(spec.abstractor->output_size, spec.decoder->hidden_size,
           "abstractor.output_size and decoder.hidden_size differ");
  }
  if (spec.text_encoder && spec.unet) {
    expect(spec.text_encoder->hidden_size, spec.unet->cross_attention_dim,
           "text_encoder.hidden_size and unet.cross_attention_dim differ");
  }
  if (spec.unet && spec.vae_decoder) {
    expect(spec.unet->latent_channels, spec.vae_decoder->latent_channels,
           "unet.latent_channels and vae_decoder.latent_channels differ");
  }
  if (spec.unet && spec.transformer) {
    components.Fail(
        "have a unet and a transformer, and one of the two denoises videos; export the bundle "
        "again");
  }
  if (spec.text_encoder && spec.transformer) {
    expect(spec.text_encoder->hidden_size, spec.transformer->cross_attention_dim,
           "text_encoder.hidden_size and transformer.cross_attention_dim differ");
  }
  if (spec.transformer && spec.vae_decoder) {
    expect(spec.transformer->latent_channels, spec.vae_decoder->latent_channels,
           "transformer.latent_channels and vae_decoder.latent_channels differ");
  }
  if (spec.vae_encoder && spec.vae_decoder &&
      (spec.vae_decoder->causal || spec.vae_decoder->whole)) {
    components.Fail(
        "have a vae_encoder, of which there is none for a causal or whole vae_decoder; export the "
        "bundle "
        "again");
  }
  if (spec.vae_encoder && !spec.vae_decoder) {
    components.Fail(
        "have a vae_encoder but no vae_decoder, whose latents it makes; export the bundle again");
  }
  if (spec.frame_checker && !spec.encoder) {
    components.Fail(
        "have a frame_checker but no encoder, whose features it reads; export the bundle again");
  }
  if (spec.frame_checker) {
    expect(spec.frame_checker->hidden_size, spec.encoder->hidden_size,
           "frame_checker.hidden_size and encoder.hidden_size differ");
  }
}

}  // namespace

std::vector<Variant> ReadVariants(const JsonCursor& component, const Manifest& manifest,
                                  std::string_view extra) {
  const JsonCursor list = component.Get("variants");
  std::vector<Variant> variants;
  for (const JsonCursor& cursor : list.Elements()) {
    if (extra == "memory_graph") {
      cursor.ExpectKeys({"target", "precision", "profile", "graph", "memory_graph", "files"});
    } else if (extra == "packed") {
      cursor.ExpectKeys({"target", "precision", "profile", "graph", "packed", "files"});
    } else {
      cursor.ExpectKeys({"target", "precision", "profile", "graph", "files"});
    }
    Variant variant;
    variant.target = cursor.Get("target").AsString();
    variant.precision = cursor.Get("precision").AsString();
    if (const auto packed = cursor.Find("packed")) {
      variant.packed = ReadListedFile(*packed, manifest);
      if (variant.target != "cpu") {
        packed->Fail("is for the target \"cpu\" alone, and this variant's is \"" + variant.target +
                     "\"; export the bundle again");
      }
    }
    // Packed weights are run without a graph.
    if (variant.packed.empty() || cursor.Find("graph")) {
      variant.graph = ReadListedFile(cursor.Get("graph"), manifest);
    }
    for (const JsonCursor& file : cursor.Get("files").Elements()) {
      variant.files.push_back(ReadListedFile(file, manifest));
    }
    if (const auto memory = cursor.Find("memory_graph")) {
      variant.memory_graph = ReadListedFile(*memory, manifest);
    }
    if (const auto profile = cursor.Find("profile")) variant.profile = ReadProfile(*profile);
    variants.push_back(std::move(variant));
  }
  if (variants.empty()) list.Fail("is empty; a component needs at least one variant");
  return variants;
}

ComponentsSpec ReadComponents(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys(kComponents);
  ComponentsSpec spec;
  if (const auto found = cursor.Find("encoder")) spec.encoder = ReadEncoder(*found, manifest);
  if (const auto found = cursor.Find("abstractor"))
    spec.abstractor = ReadConnector(*found, manifest);
  if (const auto found = cursor.Find("decoder")) spec.decoder = ReadDecoder(*found, manifest);
  if (const auto found = cursor.Find("text_encoder"))
    spec.text_encoder = ReadTextEncoder(*found, manifest);
  if (const auto found = cursor.Find("unet")) spec.unet = ReadUnet(*found, manifest);
  if (const auto found = cursor.Find("transformer"))
    spec.transformer = ReadTransformer(*found, manifest);
  if (const auto found = cursor.Find("vae_decoder"))
    spec.vae_decoder = ReadVaeDecoder(*found, manifest);
  if (const auto found = cursor.Find("vae_encoder"))
    spec.vae_encoder = ReadVaeEncoder(*found, manifest);
  if (const auto found = cursor.Find("frame_checker"))
    spec.frame_checker = ReadFrameChecker(*found, manifest);
  CheckFit(cursor, spec);
  return spec;
}

}  // namespace g4v::manifest
