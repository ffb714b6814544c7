// Parts of the core that tests compare with reference implementations.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "base/error.h"
#include "base/option.h"
#include "bindings/register.h"
#include "chat/options.h"
#include "decoder/sampler.h"
#include "diffusion/noise.h"
#include "diffusion/scheduler.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;

using Floats = py::array_t<float, py::array::c_style>;

Floats Noise(uint64_t seed, py::ssize_t count, uint64_t stream) {
  Floats values(count);
  FillNoise(seed, {values.mutable_data(), static_cast<size_t>(count)}, stream);
  return values;
}

// Settings are fields of SchedulerSpec, by name.
std::unique_ptr<Scheduler> MakeScheduler(const std::string& type, int steps, int first,
                                         const py::kwargs& settings) {
  SchedulerSpec spec;
  spec.type = type;
  const auto set = [](const py::handle& value, auto& field) {
    field = value.cast<std::remove_reference_t<decltype(field)>>();
  };
  for (const auto& [key, value] : settings) {
    const auto name = key.cast<std::string>();
#define G4V_SETTING(field)  \
  if (name == #field) {     \
    set(value, spec.field); \
    continue;               \
  }
    G4V_SETTING(num_train_timesteps)
    G4V_SETTING(prediction_type)
    G4V_SETTING(beta_start)
    G4V_SETTING(beta_end)
    G4V_SETTING(beta_schedule)
    G4V_SETTING(rescale_betas_zero_snr)
    G4V_SETTING(timestep_spacing)
    G4V_SETTING(steps_offset)
    G4V_SETTING(set_alpha_to_one)
    G4V_SETTING(clip_sample)
    G4V_SETTING(clip_sample_range)
    G4V_SETTING(use_karras_sigmas)
    G4V_SETTING(use_exponential_sigmas)
    G4V_SETTING(final_sigmas_type)
    G4V_SETTING(solver_order)
    G4V_SETTING(solver_type)
    G4V_SETTING(lower_order_final)
    G4V_SETTING(euler_at_final)
    G4V_SETTING(predict_x0)
    G4V_SETTING(disable_corrector)
    G4V_SETTING(original_inference_steps)
    G4V_SETTING(timestep_scaling)
    G4V_SETTING(shift)
    G4V_SETTING(shift_terminal)
    G4V_SETTING(stochastic_sampling)
    G4V_SETTING(use_dynamic_shifting)
    G4V_SETTING(base_shift)
    G4V_SETTING(max_shift)
    G4V_SETTING(base_image_seq_len)
    G4V_SETTING(max_image_seq_len)
    G4V_SETTING(time_shift_type)
    G4V_SETTING(use_linear_quadratic_sigmas)
    G4V_SETTING(tokens)
#undef G4V_SETTING
    throw Error(Code::InvalidArgument, "a scheduler has no setting \"" + name + "\"");
  }
  return Scheduler::Make(spec, steps, first);
}

Floats Step(Scheduler& self, int index, const Floats& prediction, const Floats& sample,
            const std::optional<Floats>& noise) {
  const bool known = index >= 0 && static_cast<size_t>(index) < self.timesteps().size();
  if (!known || prediction.size() != sample.size() || (noise && noise->size() != sample.size())) {
    throw Error(Code::InvalidArgument, "no such step, or prediction and sample differ in size");
  }
  if (self.AddsNoise(index) && !noise) throw Error(Code::InvalidArgument, "the step adds noise");
  const auto size = static_cast<size_t>(sample.size());
  Floats next(sample.size(), sample.data());
  self.Step(index, {prediction.data(), size}, {noise ? noise->data() : nullptr, noise ? size : 0},
            {next.mutable_data(), size});
  return next;
}

Floats Clean(const Scheduler& self, int index, const Floats& prediction, const Floats& sample) {
  const bool known = index >= 0 && static_cast<size_t>(index) < self.timesteps().size();
  if (!known || prediction.size() != sample.size()) {
    throw Error(Code::InvalidArgument, "no such step, or prediction and sample differ in size");
  }
  const auto size = static_cast<size_t>(sample.size());
  Floats clean(sample.size());
  self.Clean(index, {prediction.data(), size}, {sample.data(), size}, {clean.mutable_data(), size});
  return clean;
}

int32_t Sample(const Floats& logits, const std::vector<int32_t>& answer, uint64_t seed,
               uint64_t turn, const TextOptions& options) {
  std::vector<float> values(logits.data(), logits.data() + logits.size());
  Sampler sampler(ResolveTextOptions({}, options, {}), seed, turn);
  return sampler.Next(values, answer);
}

py::dict OptionRanges() {
  py::dict ranges;
  for (const OptionRange& range : kOptionRanges) {
    ranges[range.name] = py::make_tuple(range.least, range.most, range.above_least);
  }
  return ranges;
}

py::dict StatusCodes() {
  py::dict codes;
  for (const CodeName& code : kCodes) codes[code.name] = static_cast<int>(code.code);
  return codes;
}

py::dict LoadDefaults() {
  const LoadOptions defaults;
  py::dict values;
  values["device"] = defaults.device;
  values["threads"] = defaults.threads;
  values["verify"] = NameOf(defaults.verify);
  values["cuda_graphs"] = defaults.cuda_graphs;
  values["max_decoded_bytes"] = defaults.limits.max_decoded_bytes;
  values["max_prompt_tokens"] = defaults.limits.max_prompt_tokens;
  values["max_chat_kv_bytes"] = defaults.limits.max_chat_kv_bytes;
  values["max_turn_ms"] = defaults.limits.max_turn_ms;
  values["max_videos"] = defaults.limits.max_videos;
  values["max_video_pixels"] = defaults.limits.max_video_pixels;
  return values;
}

}  // namespace

void RegisterTesting(py::module_& testing) {
  testing.attr("COMPONENTS") = py::cast(kComponents);
  testing.attr("SCHEDULERS") = py::cast(kSchedulers);
  testing.def("option_ranges", &OptionRanges, "name -> (least, most, whether least is excluded).");
  testing.def("status_codes", &StatusCodes, "Name of a code without \"G4V_\" -> number.");
  testing.def("load_defaults", &LoadDefaults, "Option of a load -> its default.");
  testing.def("noise", &Noise, py::arg("seed"), py::arg("count"), py::arg("stream") = 0,
              "float32 [count], the start of the latents of a video with this seed.");
  testing.def("sample_token", &Sample, py::arg("logits"), py::arg("answer"), py::arg("seed"),
              py::arg("turn"), py::arg("options"), "The next token of an answer.");
  py::class_<Scheduler>(testing, "Scheduler", "A sampler.")
      .def(py::init(&MakeScheduler), py::arg("type"), py::arg("steps"), py::arg("first") = 0)
      .def_property_readonly("timesteps", &Scheduler::timesteps)
      .def_property_readonly("init_noise_sigma", &Scheduler::init_noise_sigma)
      .def("input_scale", &Scheduler::InputScale, py::arg("index"))
      .def(
          "noise_at",
          [](const Scheduler& self, int index) {
            const Scheduler::Mix mix = self.NoiseAt(index);
            return py::make_tuple(mix.image, mix.noise);
          },
          py::arg("index"), "Factors of image and noise in the sample of step `index`.")
      .def("adds_noise", &Scheduler::AddsNoise, py::arg("index"))
      .def("clean", &Clean, py::arg("index"), py::arg("prediction"), py::arg("sample"),
           "The clean latents that the prediction for step `index` stands for, float32 [n].")
      .def("step", &Step, py::arg("index"), py::arg("prediction"), py::arg("sample"),
           py::arg("noise") = py::none(), "The sample after step `index`, float32 [n].");
}

}  // namespace g4v::bindings
