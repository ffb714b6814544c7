#include "bundle/manifest.h"

#include <algorithm>
#include <filesystem>

namespace g4v {
namespace {

constexpr int64_t kMaxSize = 1 << 24;  // no width, count or length in a manifest is larger
constexpr int64_t kMaxId = INT32_MAX;

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

std::string ReadWord(const JsonCursor& cursor, std::initializer_list<std::string_view> words) {
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

std::array<float, 3> ReadChannels(const JsonCursor& cursor) {
  const auto elements = cursor.Elements();
  if (elements.size() != 3) cursor.Fail("must have 3 numbers, one for each channel");
  std::array<float, 3> values;
  for (size_t i = 0; i < 3; ++i) values[i] = static_cast<float>(elements[i].AsDouble());
  return values;
}

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

// A file that another part of the manifest names must be in "files".
std::string ReadListedFile(const JsonCursor& cursor, const Manifest& manifest) {
  const std::string& path = cursor.AsString();
  if (!manifest.files.contains(path))
    cursor.Fail("names \"" + path + "\", which \"files\" does not list");
  return path;
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

std::vector<Variant> ReadVariants(const JsonCursor& component, const Manifest& manifest) {
  const JsonCursor list = component.Get("variants");
  std::vector<Variant> variants;
  for (const JsonCursor& cursor : list.Elements()) {
    cursor.ExpectKeys({"target", "precision", "graph", "files"});
    Variant variant;
    variant.target = cursor.Get("target").AsString();
    variant.precision = cursor.Get("precision").AsString();
    variant.graph = ReadListedFile(cursor.Get("graph"), manifest);
    for (const JsonCursor& file : cursor.Get("files").Elements()) {
      variant.files.push_back(ReadListedFile(file, manifest));
    }
    variants.push_back(std::move(variant));
  }
  if (variants.empty()) list.Fail("is empty; a component needs at least one variant");
  return variants;
}

EncoderSpec ReadEncoder(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys(
      {"image_size", "mean", "std", "hidden_size", "tokens_per_frame", "flavour", "variants"});
  EncoderSpec spec;
  spec.image_size = ReadSize(cursor, "image_size");
  spec.mean = ReadChannels(cursor.Get("mean"));
  spec.std = ReadChannels(cursor.Get("std"));
  for (const float value : spec.std) {
    if (!(value > 0.0f)) cursor.Get("std").Fail("must be greater than 0");
  }
  spec.hidden_size = ReadSize(cursor, "hidden_size");
  spec.tokens_per_frame = ReadSize(cursor, "tokens_per_frame");
  spec.flavour = ReadWord(cursor.Get("flavour"), {"clip", "mplug-owl-video"});
  spec.variants = ReadVariants(cursor, manifest);
  return spec;
}

AbstractorSpec ReadAbstractor(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys({"hidden_size", "output_tokens", "output_size", "variants"});
  AbstractorSpec spec;
  spec.hidden_size = ReadSize(cursor, "hidden_size");
  spec.output_tokens = ReadSize(cursor, "output_tokens");
  spec.output_size = ReadSize(cursor, "output_size");
  spec.variants = ReadVariants(cursor, manifest);
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
  spec.variants = ReadVariants(cursor, manifest);
  return spec;
}

TextEncoderSpec ReadTextEncoder(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys({"max_length", "hidden_size", "variants"});
  TextEncoderSpec spec;
  spec.max_length = ReadSize(cursor, "max_length");
  spec.hidden_size = ReadSize(cursor, "hidden_size");
  spec.variants = ReadVariants(cursor, manifest);
  return spec;
}

UnetSpec ReadUnet(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys({"latent_channels", "cross_attention_dim", "variants"});
  UnetSpec spec;
  spec.latent_channels = ReadSize(cursor, "latent_channels");
  spec.cross_attention_dim = ReadSize(cursor, "cross_attention_dim");
  spec.variants = ReadVariants(cursor, manifest);
  return spec;
}

VaeDecoderSpec ReadVaeDecoder(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys({"latent_channels", "scale_factor", "scaling_factor", "variants"});
  VaeDecoderSpec spec;
  spec.latent_channels = ReadSize(cursor, "latent_channels");
  spec.scale_factor = ReadSize(cursor, "scale_factor");
  spec.scaling_factor = ReadPositive(cursor.Get("scaling_factor"));
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
}

ComponentsSpec ReadComponents(const JsonCursor& cursor, const Manifest& manifest) {
  cursor.ExpectKeys({"encoder", "abstractor", "decoder", "text_encoder", "unet", "vae_decoder"});
  ComponentsSpec spec;
  if (const auto found = cursor.Find("encoder")) spec.encoder = ReadEncoder(*found, manifest);
  if (const auto found = cursor.Find("abstractor"))
    spec.abstractor = ReadAbstractor(*found, manifest);
  if (const auto found = cursor.Find("decoder")) spec.decoder = ReadDecoder(*found, manifest);
  if (const auto found = cursor.Find("text_encoder"))
    spec.text_encoder = ReadTextEncoder(*found, manifest);
  if (const auto found = cursor.Find("unet")) spec.unet = ReadUnet(*found, manifest);
  if (const auto found = cursor.Find("vae_decoder"))
    spec.vae_decoder = ReadVaeDecoder(*found, manifest);
  CheckFit(cursor, spec);
  return spec;
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

PromptSpec ReadPrompt(const JsonCursor& cursor) {
  cursor.ExpectKeys({"system", "video_prefix", "user_prefix", "assistant_prefix", "bos_id",
                     "turn_end_id", "stop", "video_open", "video_close", "refusal_openings"});
  PromptSpec spec;
  spec.system = cursor.Get("system").AsString();
  spec.video_prefix = cursor.Get("video_prefix").AsString();
  spec.user_prefix = cursor.Get("user_prefix").AsString();
  spec.assistant_prefix = cursor.Get("assistant_prefix").AsString();
  spec.bos_id = ReadOptionalId(cursor, "bos_id");
  spec.turn_end_id = static_cast<int32_t>(cursor.Get("turn_end_id").AsInt(0, kMaxId));
  spec.stop = cursor.Get("stop").AsStrings();
  spec.video_open = cursor.Get("video_open").AsString();
  spec.video_close = cursor.Get("video_close").AsString();
  if (spec.video_open.empty() || spec.video_close.empty()) cursor.Fail("has an empty video tag");
  spec.refusal_openings = cursor.Get("refusal_openings").AsStrings();
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

SchedulerSpec ReadScheduler(const JsonCursor& cursor) {
  cursor.ExpectKeys({"type", "num_train_timesteps", "beta_start", "beta_end", "beta_schedule",
                     "prediction_type", "rescale_betas_zero_snr", "timestep_spacing",
                     "steps_offset", "set_alpha_to_one", "clip_sample"});
  SchedulerSpec spec;
  spec.type = ReadWord(cursor.Get("type"), {"dpmsolver++", "ddim"});
  spec.num_train_timesteps = ReadSize(cursor, "num_train_timesteps");
  spec.beta_start = ReadFrom(cursor.Get("beta_start"), 0.0, 1.0);
  spec.beta_end = ReadFrom(cursor.Get("beta_end"), 0.0, 1.0);
  spec.beta_schedule = ReadWord(cursor.Get("beta_schedule"), {"scaled_linear", "linear"});
  spec.prediction_type = ReadWord(cursor.Get("prediction_type"), {"epsilon", "v_prediction"});
  spec.rescale_betas_zero_snr = cursor.Get("rescale_betas_zero_snr").AsBool();
  spec.timestep_spacing =
      ReadWord(cursor.Get("timestep_spacing"), {"leading", "trailing", "linspace"});
  spec.steps_offset = static_cast<int>(cursor.Get("steps_offset").AsInt(0, kMaxSize));
  spec.set_alpha_to_one = cursor.Get("set_alpha_to_one").AsBool();
  spec.clip_sample = cursor.Get("clip_sample").AsBool();
  return spec;
}

VideoGenerationSpec ReadVideoGeneration(const JsonCursor& cursor) {
  cursor.ExpectKeys({"frames", "width", "height", "fps", "steps", "guidance_scale",
                     "negative_prompt", "scheduler"});
  VideoGenerationSpec spec;
  spec.frames = ReadSize(cursor, "frames");
  spec.width = ReadSize(cursor, "width");
  spec.height = ReadSize(cursor, "height");
  spec.fps = ReadPositive(cursor.Get("fps"));
  spec.steps = ReadSize(cursor, "steps");
  spec.guidance_scale = ReadFrom(cursor.Get("guidance_scale"), 0.0, 1000.0);
  spec.negative_prompt = cursor.Get("negative_prompt").AsString();
  spec.scheduler = ReadScheduler(cursor.Get("scheduler"));
  return spec;
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
    found->ExpectKeys({"frames"});
    manifest.frame_samples = ReadSize(*found, "frames");
  }
  if (components.encoder && manifest.frame_samples == 0) {
    root.Fail("has an encoder but no key \"frame_sampling\"");
  }
  const JsonCursor generation = root.Get("generation");
  generation.ExpectKeys({"text", "video"});
  if (const auto found = generation.Find("text"))
    manifest.text_generation = ReadTextGeneration(*found);
  if (const auto found = generation.Find("video"))
    manifest.video_generation = ReadVideoGeneration(*found);
  if (components.decoder && !manifest.text_generation) generation.Fail("has no key \"text\"");
  if (components.unet && !manifest.video_generation) generation.Fail("has no key \"video\"");
  const JsonCursor licences = root.Get("licences");
  licences.Elements();  // an array
  manifest.licences = licences.value();
  const JsonCursor provenance = root.Get("provenance");
  provenance.Members();  // an object
  manifest.provenance = provenance.value();
  return manifest;
}

const Variant& SelectVariant(const std::vector<Variant>& variants, std::string_view target,
                             const std::string& component) {
  for (const std::string_view wanted : {target, std::string_view("cpu")}) {
    for (const Variant& variant : variants) {
      if (variant.target == wanted) return variant;
    }
  }
  throw Error(Code::Bundle, "the bundle's " + component + " has no variant for \"" +
                                std::string(target) + "\" nor for \"cpu\"; export one");
}

}  // namespace g4v
