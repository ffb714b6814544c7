#include "bundle/manifest.h"

#include <algorithm>
#include <filesystem>

#include "bundle/manifest_reader.h"

namespace g4v {
namespace {

using namespace manifest;  // the readers of manifest_reader.h

constexpr double kMostRate = 1000.0;      // frames a second
constexpr double kMostSkipped = 86400.0;  // seconds

// Stays inside the bundle by its spelling; Bundle::Open checks links.
void CheckRelativePath(const JsonCursor& cursor, const std::string& path) {
  const std::filesystem::path parsed(path);
  const bool climbs = std::any_of(parsed.begin(), parsed.end(), [](const auto& part) {
    return part == ".." || part == "." || part.empty();
  });
  const bool foreign = path.find('\\') != std::string::npos || path.find('\0') != std::string::npos;
  if (path.empty() || parsed.is_absolute() || climbs || foreign) {
    cursor.Fail("names a file outside the bundle; do not use this bundle");
  }
}

std::map<std::string, FileEntry> ReadFiles(const JsonCursor& cursor) {
  std::map<std::string, FileEntry> files;
  for (const auto& [path, entry] : cursor.Members()) {
    CheckRelativePath(entry, path);
    entry.ExpectKeys({"bytes", "sha256"});
    FileEntry file;
    file.bytes = static_cast<uint64_t>(entry.Get("bytes").AsInt(0));
    const JsonCursor digest = entry.Get("sha256");
    file.sha256 = digest.AsString();
    const bool hex = file.sha256.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (file.sha256.size() != 64 || !hex) digest.Fail("must be 64 lower-case hexadecimal digits");
    files.emplace(path, std::move(file));
  }
  return files;
}

TokenizerSpec ReadTokenizer(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys({"file", "bos", "eos", "pad"});
  TokenizerSpec spec;
  spec.file = ReadListedFile(cursor.Get("file"), manifest);
  spec.bos = ReadOptionalId(cursor, "bos");
  spec.eos = ReadOptionalId(cursor, "eos");
  spec.pad = ReadOptionalId(cursor, "pad");
  return spec;
}

TokenizersSpec ReadTokenizers(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys({"decoder", "text_encoder"});
  TokenizersSpec spec;
  if (const auto found = cursor.Find("decoder")) spec.decoder = ReadTokenizer(*found, manifest);
  if (const auto found = cursor.Find("text_encoder")) {
    spec.text_encoder = ReadTokenizer(*found, manifest);
    if (!spec.text_encoder->pad) found->Fail("needs a pad token");
  }
  const ComponentsSpec& components = manifest.components;
  if (components.decoder && !spec.decoder) cursor.Fail("has no key \"decoder\"");
  if (components.text_encoder && !spec.text_encoder) cursor.Fail("has no key \"text_encoder\"");
  return spec;
}

FrameSamplingSpec ReadFrameSampling(const JsonCursor& cursor) {
  cursor.ExpectKeys({"frames", "fps", "skip_seconds", "rule"});
  FrameSamplingSpec spec;
  spec.frames = ReadSize(cursor, "frames");
  if (const auto found = cursor.Find("fps")) {
    spec.fps = ReadPositive(*found);
    if (spec.fps > kMostRate) found->Fail("is out of range");
  }
  if (const auto found = cursor.Find("skip_seconds")) {
    spec.skip_seconds = ReadFrom(*found, 0.0, kMostSkipped);
    if (spec.fps == 0) found->Fail("needs \"fps\" beside it");
  }
  if (const auto found = cursor.Find("rule")) {
    spec.rule = ReadWord(*found, {"spread", "floor"});
    if (spec.rule == "floor" && spec.skip_seconds > 0) {
      found->Fail("is \"floor\", which leaves nothing out, and \"skip_seconds\" is there");
    }
  }
  return spec;
}

TextGenerationSpec ReadTextGeneration(const JsonCursor& cursor) {
  cursor.ExpectKeys({"max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty"});
  TextGenerationSpec spec;
  spec.max_new_tokens = ReadSize(cursor, "max_new_tokens");
  spec.temperature = ReadFrom(cursor.Get("temperature"), 0.0, 100.0);
  spec.top_k = static_cast<int>(cursor.Get("top_k").AsInt(0, kMaxSize));
  spec.top_p = ReadFrom(cursor.Get("top_p"), 0.0, 1.0);
  spec.repetition_penalty = ReadPositive(cursor.Get("repetition_penalty"));
  return spec;
}

// The network that denoises is the one of the pipeline.
void CheckVideo(const JsonCursor& generation, const Manifest& manifest) {
  const ComponentsSpec& components = manifest.components;
  if (!components.unet && !components.transformer) return;
  if (!manifest.video_generation) generation.Fail("has no key \"video\"");
  const std::optional<TransformerSpec>& transformer = components.transformer;
  const std::string_view of_transformer =
      transformer && transformer->frame_seconds ? kLtxPipeline : kWanPipeline;
  const std::string_view wanted = transformer ? of_transformer : kUnetPipeline;
  const VideoGenerationSpec& video = *manifest.video_generation;
  const std::string& pipeline = video.pipeline;
  const std::optional<VaeDecoderSpec>& vae = components.vae_decoder;
  if (vae && !(vae->whole && vae->whole->timestep) &&
      (video.decode_timestep != 0.0 || video.decode_noise_scale != 0.0)) {
    generation.Get("video").Fail(
        "has decode_timestep or decode_noise_scale, and the vae_decoder takes no time step");
  }
  if (pipeline == wanted) return;
  if (wanted == kLtxPipeline && pipeline == kLtxConditionPipeline) return;
  generation.Get("video").Fail("is of the pipeline \"" + pipeline + "\", and a " +
                               (components.transformer ? "transformer" : "unet") +
                               " is there, which is of \"" + std::string(wanted) +
                               "\"; export the bundle again");
}

void CheckFormat(const JsonCursor& root) {
  const auto format = root.Find("format");
  if (!format || !format->value().is_string() || format->AsString() != "g4v-bundle") {
    root.Fail(
        "is not the manifest of a g4v bundle; give the directory that `python -m g4v.export` "
        "wrote");
  }
  const int64_t version = root.Get("format_version").AsInt(1);
  if (version > kBundleFormatVersion) {
    root.Fail("has bundle format version " + std::to_string(version) +
              " but this g4v reads up to " + std::to_string(kBundleFormatVersion) +
              "; upgrade g4v or export the bundle again");
  }
}

}  // namespace

Manifest Manifest::Parse(std::string_view json_text) {
  const Json json = ParseJson(json_text, "g4v.json");
  const JsonCursor root(json, "g4v.json");
  // Before the keys: a newer or foreign file is told apart from one with a mistake.
  CheckFormat(root);
  root.ExpectKeys({"format", "format_version", "name", "assistant", "description", "created_by",
                   "files", "components", "tokenizers", "prompt", "frame_sampling", "generation",
                   "licences", "provenance"});
  Manifest manifest;
  manifest.name = root.Get("name").AsString();
  manifest.assistant = root.Get("assistant").AsString();
  manifest.description = root.Get("description").AsString();
  manifest.created_by = root.Get("created_by").AsString();
  manifest.files = ReadFiles(root.Get("files"));
  manifest.components = ReadComponents(root.Get("components"), manifest);
  manifest.tokenizers = ReadTokenizers(root.Get("tokenizers"), manifest);
  const ComponentsSpec& components = manifest.components;
  if (const auto found = root.Find("prompt")) manifest.prompt = ReadPrompt(*found);
  if (components.decoder && !manifest.prompt) root.Fail("has a decoder but no key \"prompt\"");
  if (const auto found = root.Find("frame_sampling")) {
    manifest.frame_sampling = ReadFrameSampling(*found);
  }
  const bool per_frame = components.abstractor && components.abstractor->per_frame();
  if (manifest.prompt && manifest.prompt->frame_prefix && !per_frame) {
    root.Fail(
        "has a prompt with a frame_prefix, but no abstractor that makes tokens of every frame; "
        "export the bundle again");
  }
  if (components.encoder && manifest.frame_sampling.frames == 0) {
    root.Fail("has an encoder but no key \"frame_sampling\"");
  }
  const JsonCursor generation = root.Get("generation");
  generation.ExpectKeys({"text", "video"});
  if (const auto found = generation.Find("text"))
    manifest.text_generation = ReadTextGeneration(*found);
  if (const auto found = generation.Find("video"))
    manifest.video_generation = ReadVideoGeneration(*found);
  if (components.decoder && !manifest.text_generation) generation.Fail("has no key \"text\"");
  CheckVideo(generation, manifest);
  const JsonCursor licences = root.Get("licences");
  licences.Elements();  // an array
  manifest.licences = licences.value();
  const JsonCursor provenance = root.Get("provenance");
  provenance.Members();  // an object
  manifest.provenance = provenance.value();
  return manifest;
}

}  // namespace g4v
