// g4v.json as typed structs. One to one with the file; the writer is export/bundle/writer.py.
// Reading refuses unknown keys, wrong types and newer format versions, and names the JSON path of
// what it refuses.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace g4v {

constexpr int kBundleFormatVersion = 1;

struct FileEntry {
  uint64_t bytes = 0;
  std::string sha256;  // 64 lower-case hex digits
};

// Sizes of one dynamic dimension.
struct Span {
  int least = 0;
  int usual = 0;  // at which an engine is fastest
  int most = 0;
};

// One way to run a component: a graph for a provider and a precision, and every file that it needs.
struct Variant {
  std::string target;     // "cpu", "cuda", ...
  std::string precision;  // "fp32", ...
  // Relative path of the ONNX file. Empty only where `packed` is there and the target is "cpu".
  std::string graph;
  // The abstractor's, where it has a graph for what is computed of single frames: `graph` then
  // takes what that one makes.
  std::string memory_graph;
  // The decoder's for the CPU: its weights as the core's own decoder (decoder/cpu) takes them, which
  // then runs in place of the graph. Only where the target is "cpu".
  std::string packed;
  std::vector<std::string> files;
  std::map<std::string, Span> profile;  // of an engine, by dimension; one without a span takes any
};

struct EncoderSpec {
  int image_size = 0;
  std::array<float, 3> mean{};
  std::array<float, 3> std{};
  int hidden_size = 0;
  int tokens_per_frame = 0;
  std::string flavour;                 // "clip", "siglip" or "mplug-owl-video"
  std::string resampling = "bicubic";  // of frames: or "lanczos"
  int longest_edge = 0;                // to which frames are resized first; 0: they are not
  int shortest_edge = 0;  // to which frames are resized, and then cropped to their middle; 0: not
  std::vector<Variant> variants;
};

// What makes video tokens of the encoder's features.
struct ConnectorSpec {
  std::string kind = "mplug-owl";  // or "pixel-shuffle", "mlp"
  int hidden_size = 0;             // width of the encoder's features
  int output_tokens = 0;           // of a clip, or of a frame where per_frame()
  int output_size = 0;             // width of the decoder's embeddings
  std::vector<Variant> variants;

  // Whether every frame has tokens of its own, which depend on no other frame.
  bool per_frame() const { return kind != "mplug-owl"; }
};

struct EmbeddingSpec {
  std::string file;   // row-major [vocab_size, hidden_size], little-endian
  std::string dtype;  // "float32" or "float16"
};

struct DecoderSpec {
  int vocab_size = 0;
  int hidden_size = 0;
  int layers = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int context_length = 0;
  EmbeddingSpec embedding;
  std::vector<Variant> variants;
};

struct TextEncoderSpec {
  int max_length = 0;
  int hidden_size = 0;
  bool attention_mask = false;  // the graph's input "attention_mask" hides the padding
  bool zero_padding = false;    // states of the padding become zero
  bool load_per_video = false;  // "load": its session is there only while a text is encoded
  std::vector<Variant> variants;
};

struct UnetSpec {
  int latent_channels = 0;
  int cross_attention_dim = 0;
  bool whole_timesteps = true;  // the graph's input "timestep" is int64, not float32
  std::vector<Variant> variants;
};

// A transformer in place of the UNet: its graph has the same inputs and the same output, and those
// that are named here.
struct TransformerSpec {
  int latent_channels = 0;
  int cross_attention_dim = 0;
  std::array<int, 3> patch_size{};  // latents for one token: along frames, height and width
  int positions = 0;                // most patches along frames, height or width; 0: any number
  // The graph's input "encoder_attention_mask", int64 [B, L], hides the padding of the texts.
  bool attention_mask = false;
  // The graph's input "frame_seconds", float32 [f], says when each latent frame is shown.
  bool frame_seconds = false;
  std::vector<Variant> variants;
};

// What a convolution over time keeps of one chunk for the next: the last kCacheFrames frames that it
// has read.
struct CacheSpec {
  int channels = 0;
  int scale = 0;  // as many times as high and as wide as the latents
};
inline constexpr int kCacheFrames = 2;

// Of a decoder that takes a video chunk by chunk, one latent frame at a time: diffusion/causal_vae.h.
struct CausalSpec {
  int frames_per_latent = 0;  // but for the first latent frame, which stands for one
  std::vector<CacheSpec> caches;
};

// Of a decoder that takes all latent frames of a video at once: diffusion/whole_vae.h.
struct WholeSpec {
  int frames_per_latent = 0;  // but for the first latent frame, which stands for one
  bool timestep = false;      // the graph's input "timestep", float32 [1]: how much noise is left
  // Of the graph's inputs "noise.0", "noise.1", ..., float32 [1, 1, H, W]: as many times as high and
  // as wide as the latents. The decoder adds them between its layers.
  std::vector<int> noise_scales;
};

struct VaeDecoderSpec {
  int latent_channels = 0;
  int scale_factor = 0;  // pixels for one latent, in height and width
  double scaling_factor = 1.0;
  // Of each channel, after the division by scaling_factor. Empty: 0 and 1.
  std::vector<double> latents_mean;
  std::vector<double> latents_std;
  std::optional<CausalSpec> causal;  // or whole, not both; neither: frames are latent frames
  std::optional<WholeSpec> whole;
  std::vector<Variant> variants;

  int frames_per_latent() const {
    return causal ? causal->frames_per_latent : whole ? whole->frames_per_latent : 1;
  }

  double mean(size_t channel) const { return latents_mean.empty() ? 0.0 : latents_mean[channel]; }
  double std(size_t channel) const { return latents_std.empty() ? 1.0 : latents_std[channel]; }
};

// The encoder half of the VAE whose other half is the VAE decoder: the same latents.
struct VaeEncoderSpec {
  std::vector<Variant> variants;
};

struct FrameCheckerSpec {
  int hidden_size = 0;          // width of the encoder's features
  double withhold_above = 0.0;  // share of unsafe frames above which a video is not shown
  std::vector<Variant> variants;
};

struct ComponentsSpec {
  std::optional<EncoderSpec> encoder;
  std::optional<ConnectorSpec> abstractor;
  std::optional<DecoderSpec> decoder;
  std::optional<TextEncoderSpec> text_encoder;
  std::optional<UnetSpec> unet;  // or the transformer, not both
  std::optional<TransformerSpec> transformer;
  std::optional<VaeDecoderSpec> vae_decoder;
  std::optional<VaeEncoderSpec> vae_encoder;
  std::optional<FrameCheckerSpec> frame_checker;
};

// The names of the components in g4v.json, in the order of ComponentsSpec.
inline constexpr std::array<std::string_view, 9> kComponents = {
    "encoder",     "abstractor",  "decoder",     "text_encoder", "unet",
    "transformer", "vae_decoder", "vae_encoder", "frame_checker"};

// Calls visit(name, component) for each component that there is.
template <class Visit>
void ForEachComponent(const ComponentsSpec& spec, const Visit& visit) {
  size_t next = 0;
  const auto each = [&](const auto& component) {
    const std::string_view name = kComponents[next++];
    if (component) visit(name, *component);
  };
  each(spec.encoder);
  each(spec.abstractor);
  each(spec.decoder);
  each(spec.text_encoder);
  each(spec.unet);
  each(spec.transformer);
  each(spec.vae_decoder);
  each(spec.vae_encoder);
  each(spec.frame_checker);
}

struct TokenizerSpec {
  std::string file;
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
  std::optional<int32_t> pad;
};

struct TokenizersSpec {
  std::optional<TokenizerSpec> decoder;
  std::optional<TokenizerSpec> text_encoder;  // has a pad
};

// Where each text stands: csrc/chat/prompt.h.
struct PromptSpec {
  std::string system;
  std::string system_prefix;
  std::string system_suffix;
  std::string no_system;  // in place of system_suffix where the system text is empty
  std::string video_prefix;
  std::optional<std::string> video_suffix;  // nothing: user_prefix
  // Around the tokens of each frame, where frames have tokens of their own. Nothing: none.
  std::optional<std::string> frame_prefix;
  std::string frame_suffix;
  std::string user_prefix;
  std::string assistant_prefix;
  std::string answer_prefix = " ";  // of answers that the model did not write itself
  std::string answer_suffix;
  std::string turn_separator;
  std::map<std::string, int32_t> special_tokens;  // that the texts around the system's may hold
  // Whether text after a special token, bos_id among them, begins as a text of its own does: with
  // the dummy space of tokenizers that have one. Nothing: only after bos_id.
  std::optional<bool> space_after_special;
  // The same for bos_id alone, where it differs. Nothing: as above.
  std::optional<bool> space_after_bos;
  bool space_after_video = false;  // the same for text after a video's tokens
  std::optional<int32_t> bos_id;
  int32_t turn_end_id = 0;
  std::vector<int32_t> stop_ids;  // other tokens that end an answer
  std::vector<std::string> stop;
  std::string video_open;
  std::string video_close;
  std::vector<std::string> refusal_openings;
};

struct TextGenerationSpec {
  int max_new_tokens = 256;
  double temperature = 0.0;
  int top_k = 0;
  double top_p = 1.0;
  double repetition_penalty = 1.0;
};

inline constexpr std::array<std::string_view, 8> kSchedulers = {
    "ddim",  "dpmsolver++", "sde-dpmsolver++", "euler", "euler_ancestral",
    "unipc", "lcm",         "flow_match_euler"};

// What of diffusers' configuration has an effect here, by the same names. Each sampler reads its
// own settings and none of the others'.
struct SchedulerSpec {
  std::string type;  // one of kSchedulers
  int num_train_timesteps = 1000;
  // "epsilon", "v_prediction", "sample", or "flow_prediction", which has no betas
  std::string prediction_type;
  double beta_start = 0.0;
  double beta_end = 0.0;
  std::string beta_schedule;  // "scaled_linear", "linear" or "squaredcos_cap_v2"
  bool rescale_betas_zero_snr = false;
  // "leading", "trailing", "linspace", or "default": DDIM's is leading, the others' linspace
  std::string timestep_spacing = "default";
  int steps_offset = 0;
  bool set_alpha_to_one = false;  // DDIM
  bool clip_sample = false;       // DDIM, LCM
  // Keys that may be absent.
  double clip_sample_range = 1.0;          // DDIM, LCM
  bool use_karras_sigmas = false;          // all but DDIM, Euler ancestral and LCM
  bool use_exponential_sigmas = false;     // likewise
  std::string final_sigmas_type = "zero";  // "zero" or "sigma_min"; DPM-Solver++, UniPC, Euler
  int solver_order = 2;                    // 1 to 3; DPM-Solver++, UniPC
  // "default", or "heun" of DPM-Solver++ (not midpoint), or "bh1" of UniPC (not bh2)
  std::string solver_type = "default";
  bool lower_order_final = true;       // DPM-Solver++, UniPC
  bool euler_at_final = false;         // DPM-Solver++
  bool predict_x0 = true;              // UniPC
  std::vector<int> disable_corrector;  // UniPC: steps, from 0
  int original_inference_steps = 50;   // LCM
  double timestep_scaling = 10.0;      // LCM
  double shift = 1.0;                  // flow_prediction
  double shift_terminal = 0.0;         // flow_prediction; 0 = none
  bool stochastic_sampling = false;    // flow-matching Euler
  // flow_prediction of LTXPipeline: a shift that grows with the video's size in place of `shift`.
  bool use_dynamic_shifting = false;
  double base_shift = 0.5;  // logarithms of the shift, or, where it is "linear", the shift itself
  double max_shift = 1.15;
  int base_image_seq_len = 256;  // tokens of the video that has base_shift
  int max_image_seq_len = 4096;
  std::string time_shift_type = "exponential";  // or "linear"
  // flow_prediction of LTXConditionPipeline: noise levels of LTX-Video's own, which nothing shifts.
  bool use_linear_quadratic_sigmas = false;
  // Not of the manifest: tokens of the video, where its pipeline gives the noise levels, from 1 to
  // 1 / steps before they are shifted; 0: the sampler has its own.
  int64_t tokens = 0;
};

// Pipelines of diffusers whose videos are made: each has a denoising network of its own, but for the
// last two. Theirs has frame_seconds.
inline constexpr std::string_view kUnetPipeline = "TextToVideoSDPipeline";
inline constexpr std::string_view kWanPipeline = "WanPipeline";
inline constexpr std::string_view kLtxPipeline = "LTXPipeline";
inline constexpr std::string_view kLtxConditionPipeline = "LTXConditionPipeline";

struct VideoGenerationSpec {
  std::string pipeline{kUnetPipeline};
  int frames = 0;
  int width = 0;
  int height = 0;
  double fps = 0.0;
  int steps = 0;
  double guidance_scale = 1.0;
  std::string negative_prompt;
  double shared_noise = 0.0;  // share of the noise's variance that all frames have in common
  // Of a VAE decoder with a time step: that step, and the share of noise that its latents get.
  double decode_timestep = 0.0;
  double decode_noise_scale = 0.0;
  SchedulerSpec scheduler;
  std::vector<std::string> schedulers;  // that a request may choose, scheduler.type first
};

// Which frames of a video the encoder sees.
struct FrameSamplingSpec {
  int frames = 0;  // at most, where fps is not 0; 0 where the bundle reads no video
  double fps = 0;  // of the frames that are taken; 0: always `frames`, whatever the video's length
  double skip_seconds = 0;      // left out at both ends of a video that is long enough
  std::string rule = "spread";  // or "floor": FloorFrames of video/preprocess.h
};

struct Manifest {
  std::string name;
  std::string assistant;
  std::string description;
  std::string created_by;
  std::map<std::string, FileEntry> files;  // every file of the bundle but g4v.json
  ComponentsSpec components;
  TokenizersSpec tokenizers;
  std::optional<PromptSpec> prompt;
  FrameSamplingSpec frame_sampling;
  std::optional<TextGenerationSpec> text_generation;
  std::optional<VideoGenerationSpec> video_generation;
  Json licences;    // an array, as written
  Json provenance;  // an object, as written

  // Reads and checks the text of g4v.json. Throws Error(Bundle).
  static Manifest Parse(std::string_view json_text);
};

// The component, or Error(Bundle) "this bundle has no <name>: ...".
template <class T>
const T& Require(const std::optional<T>& component, const std::string& name) {
  if (!component) {
    throw Error(Code::Bundle,
                "this bundle has no " + name + "; use a bundle that was exported with one");
  }
  return *component;
}

}  // namespace g4v
