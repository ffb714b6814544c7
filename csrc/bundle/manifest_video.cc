// "generation.video": how videos are made by default, and the schedule that the model was trained on.
#include <algorithm>

#include "bundle/manifest_reader.h"

namespace g4v::manifest {
namespace {

constexpr double kMostShift = 100;    // of base_shift and max_shift
constexpr double kMostScaling = 1e6;  // so that its square times that of a time step is finite

// Settings that the exporter writes only where they are not the default.
void ReadOptionalSettings(const JsonCursor& cursor, SchedulerSpec& spec) {
  const auto flag = [&cursor](std::string_view key, bool& value) {
    if (const auto found = cursor.Find(key)) value = found->AsBool();
  };
  const auto integer = [&cursor](std::string_view key, int64_t most, int& value) {
    if (const auto found = cursor.Find(key)) value = static_cast<int>(found->AsInt(1, most));
  };
  const auto positive = [&cursor](std::string_view key, double& value) {
    if (const auto found = cursor.Find(key)) value = ReadPositive(*found);
  };
  positive("clip_sample_range", spec.clip_sample_range);
  flag("use_karras_sigmas", spec.use_karras_sigmas);
  flag("use_exponential_sigmas", spec.use_exponential_sigmas);
  if (const auto found = cursor.Find("final_sigmas_type")) {
    spec.final_sigmas_type = ReadWord(*found, {"zero", "sigma_min"});
  }
  integer("solver_order", 3, spec.solver_order);
  if (const auto found = cursor.Find("solver_type")) {
    spec.solver_type = ReadWord(*found, {"midpoint", "heun", "bh1", "bh2"});
  }
  flag("lower_order_final", spec.lower_order_final);
  flag("euler_at_final", spec.euler_at_final);
  flag("predict_x0", spec.predict_x0);
  if (const auto found = cursor.Find("disable_corrector")) {
    for (const JsonCursor& step : found->Elements()) {
      spec.disable_corrector.push_back(static_cast<int>(step.AsInt(0, kMaxSize)));
    }
  }
  integer("original_inference_steps", kMaxSize, spec.original_inference_steps);
  positive("timestep_scaling", spec.timestep_scaling);
  if (spec.timestep_scaling > kMostScaling) cursor.Fail("has a timestep_scaling above 1e6");
  if (const auto found = cursor.Find("shift")) {
    spec.shift = ReadPositive(*found);
    if (spec.shift < 0.01 || spec.shift > 100) found->Fail("must be from 0.01 to 100");
  }
  if (const auto found = cursor.Find("shift_terminal")) {
    spec.shift_terminal = ReadFrom(*found, 0.0, 1.0);
    if (spec.shift_terminal == 1.0) found->Fail("must be below 1");
  }
  flag("stochastic_sampling", spec.stochastic_sampling);
  if (spec.use_karras_sigmas && spec.use_exponential_sigmas) {
    cursor.Fail("has use_karras_sigmas and use_exponential_sigmas; only one of them can be true");
  }
}

// Of models that predict the flow: how the shift grows with the video.
void ReadDynamicShifting(const JsonCursor& cursor, SchedulerSpec& spec) {
  if (const auto found = cursor.Find("use_dynamic_shifting")) {
    spec.use_dynamic_shifting = found->AsBool();
  }
  if (const auto found = cursor.Find("base_shift")) {
    spec.base_shift = ReadFrom(*found, -kMostShift, kMostShift);
  }
  if (const auto found = cursor.Find("max_shift")) {
    spec.max_shift = ReadFrom(*found, -kMostShift, kMostShift);
  }
  if (const auto found = cursor.Find("base_image_seq_len")) {
    spec.base_image_seq_len = static_cast<int>(found->AsInt(1, kMaxSize));
  }
  if (const auto found = cursor.Find("max_image_seq_len")) {
    spec.max_image_seq_len = static_cast<int>(found->AsInt(1, kMaxSize));
  }
  if (spec.max_image_seq_len <= spec.base_image_seq_len) {
    cursor.Fail("must have a max_image_seq_len above base_image_seq_len");
  }
  if (const auto found = cursor.Find("time_shift_type")) {
    spec.time_shift_type = ReadWord(*found, {"exponential", "linear"});
  }
}

// The network reads time steps as the levels have them: what would change levels alone is refused.
void CheckLinearQuadratic(const JsonCursor& cursor, const SchedulerSpec& spec) {
  if (spec.type != "flow_match_euler" || spec.prediction_type != "flow_prediction" ||
      spec.num_train_timesteps != 1000) {
    cursor.Fail(
        "has use_linear_quadratic_sigmas, which is of flow_match_euler with flow_prediction and "
        "1000 num_train_timesteps alone");
  }
  if (spec.shift != 1.0 || spec.shift_terminal != 0.0 || spec.use_dynamic_shifting ||
      spec.use_karras_sigmas || spec.use_exponential_sigmas || spec.stochastic_sampling) {
    cursor.Fail(
        "has use_linear_quadratic_sigmas, and with it must be no shift, shift_terminal, "
        "use_dynamic_shifting, use_karras_sigmas, use_exponential_sigmas or stochastic_sampling");
  }
}

// Of models that predict noise, velocity or the clean image: the schedule of betas.
void ReadBetas(const JsonCursor& cursor, SchedulerSpec& spec) {
  spec.beta_start = ReadFrom(cursor.Get("beta_start"), 0.0, 1.0);
  spec.beta_end = ReadFrom(cursor.Get("beta_end"), 0.0, 1.0);
  spec.beta_schedule =
      ReadWord(cursor.Get("beta_schedule"), {"scaled_linear", "linear", "squaredcos_cap_v2"});
  spec.rescale_betas_zero_snr = cursor.Get("rescale_betas_zero_snr").AsBool();
  spec.timestep_spacing =
      ReadWord(cursor.Get("timestep_spacing"), {"leading", "trailing", "linspace", "default"});
  spec.steps_offset = static_cast<int>(cursor.Get("steps_offset").AsInt(0, kMaxSize));
  spec.set_alpha_to_one = cursor.Get("set_alpha_to_one").AsBool();
  spec.clip_sample = cursor.Get("clip_sample").AsBool();
}

SchedulerSpec ReadScheduler(const JsonCursor& cursor) {
  cursor.ExpectKeys({"type",
                     "num_train_timesteps",
                     "prediction_type",
                     "beta_start",
                     "beta_end",
                     "beta_schedule",
                     "rescale_betas_zero_snr",
                     "timestep_spacing",
                     "steps_offset",
                     "set_alpha_to_one",
                     "clip_sample",
                     "clip_sample_range",
                     "use_karras_sigmas",
                     "use_exponential_sigmas",
                     "final_sigmas_type",
                     "solver_order",
                     "solver_type",
                     "lower_order_final",
                     "euler_at_final",
                     "predict_x0",
                     "disable_corrector",
                     "original_inference_steps",
                     "timestep_scaling",
                     "shift",
                     "shift_terminal",
                     "stochastic_sampling",
                     "use_dynamic_shifting",
                     "base_shift",
                     "max_shift",
                     "base_image_seq_len",
                     "max_image_seq_len",
                     "time_shift_type",
                     "use_linear_quadratic_sigmas"});
  SchedulerSpec spec;
  spec.type = ReadWord(cursor.Get("type"), kSchedulers);
  spec.num_train_timesteps = ReadSize(cursor, "num_train_timesteps");
  spec.prediction_type = ReadWord(cursor.Get("prediction_type"),
                                  {"epsilon", "v_prediction", "sample", "flow_prediction"});
  if (spec.prediction_type != "flow_prediction") ReadBetas(cursor, spec);
  ReadOptionalSettings(cursor, spec);
  ReadDynamicShifting(cursor, spec);
  if (const auto found = cursor.Find("use_linear_quadratic_sigmas")) {
    spec.use_linear_quadratic_sigmas = found->AsBool();
    if (spec.use_linear_quadratic_sigmas) CheckLinearQuadratic(cursor, spec);
  }
  return spec;
}

// The samplers that a request may choose, the default one first.
std::vector<std::string> ReadSchedulers(const JsonCursor& video, const std::string& type) {
  const auto found = video.Find("schedulers");
  if (!found) {
    // Bundles without the list are of a time when these two were all.
    if (type == "ddim") return {"ddim", "dpmsolver++"};
    if (type == "dpmsolver++") return {"dpmsolver++", "ddim"};
    return {type};
  }
  std::vector<std::string> names;
  for (const JsonCursor& element : found->Elements()) {
    names.push_back(ReadWord(element, kSchedulers));
    if (std::count(names.begin(), names.end(), names.back()) > 1) element.Fail("is there twice");
  }
  if (names.empty() || names.front() != type) {
    found->Fail("must begin with scheduler.type, \"" + type + "\"");
  }
  return names;
}

}  // namespace

VideoGenerationSpec ReadVideoGeneration(const JsonCursor& cursor) {
  cursor.ExpectKeys({"pipeline", "frames", "width", "height", "fps", "steps", "guidance_scale",
                     "negative_prompt", "shared_noise", "decode_timestep", "decode_noise_scale",
                     "scheduler", "schedulers"});
  VideoGenerationSpec spec;
  if (const auto found = cursor.Find("pipeline")) {
    spec.pipeline =
        ReadWord(*found, {kUnetPipeline, kWanPipeline, kLtxPipeline, kLtxConditionPipeline});
  }
  spec.frames = ReadSize(cursor, "frames");
  spec.width = ReadSize(cursor, "width");
  spec.height = ReadSize(cursor, "height");
  spec.fps = ReadPositive(cursor.Get("fps"));
  spec.steps = ReadSize(cursor, "steps");
  spec.guidance_scale = ReadFrom(cursor.Get("guidance_scale"), 0.0, 1000.0);
  spec.negative_prompt = cursor.Get("negative_prompt").AsString();
  if (const auto found = cursor.Find("shared_noise")) {
    spec.shared_noise = ReadFrom(*found, 0.0, 1.0);
  }
  if (const auto found = cursor.Find("decode_timestep")) {
    spec.decode_timestep = ReadFrom(*found, 0.0, 1.0);
  }
  spec.decode_noise_scale = spec.decode_timestep;
  if (const auto found = cursor.Find("decode_noise_scale")) {
    spec.decode_noise_scale = ReadFrom(*found, 0.0, 1.0);
  }
  spec.scheduler = ReadScheduler(cursor.Get("scheduler"));
  if (spec.scheduler.use_dynamic_shifting && spec.pipeline != kLtxPipeline) {
    cursor.Get("scheduler")
        .Fail("has use_dynamic_shifting, which is of \"" + std::string(kLtxPipeline) + "\" alone");
  }
  const bool own_levels = spec.pipeline == kLtxConditionPipeline;
  if (spec.scheduler.use_linear_quadratic_sigmas != own_levels) {
    cursor.Get("scheduler")
        .Fail((own_levels ? "has no use_linear_quadratic_sigmas, which are those of \""
                          : "has use_linear_quadratic_sigmas, which are of \"") +
              std::string(kLtxConditionPipeline) + (own_levels ? "\"" : "\" alone"));
  }
  spec.schedulers = ReadSchedulers(cursor, spec.scheduler.type);
  if (own_levels && spec.schedulers.size() > 1) {
    cursor.Get("schedulers")
        .Fail(
            "must hold \"flow_match_euler\" alone: no other sampler takes the noise levels of \"" +
            std::string(kLtxConditionPipeline) + "\"");
  }
  return spec;
}

}  // namespace g4v::manifest
