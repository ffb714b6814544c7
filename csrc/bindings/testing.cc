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

Floats Noise(uint64_t seed, py::ssize_t count) {
  Floats values(count);
  FillNoise(seed, {values.mutable_data(), static_cast<size_t>(count)});
  return values;
}

std::unique_ptr<Scheduler> MakeScheduler(
    const std::string& type, int steps, int num_train_timesteps, double beta_start, double beta_end,
    const std::string& beta_schedule, const std::string& prediction_type,
    bool rescale_betas_zero_snr, const std::string& timestep_spacing, int steps_offset,
    bool set_alpha_to_one, bool clip_sample, double clip_sample_range, bool use_karras_sigmas,
    const std::string& final_sigmas_type, int solver_order, bool lower_order_final,
    bool euler_at_final) {
  const SchedulerSpec spec{type,
                           num_train_timesteps,
                           beta_start,
                           beta_end,
                           beta_schedule,
                           prediction_type,
                           rescale_betas_zero_snr,
                           timestep_spacing,
                           steps_offset,
                           set_alpha_to_one,
                           clip_sample,
                           clip_sample_range,
                           use_karras_sigmas,
                           final_sigmas_type,
                           solver_order,
                           lower_order_final,
                           euler_at_final};
  return Scheduler::Make(spec, steps);
}

Floats Step(Scheduler& self, int index, const Floats& prediction, const Floats& sample) {
  const bool known = index >= 0 && static_cast<size_t>(index) < self.timesteps().size();
  if (!known || prediction.size() != sample.size()) {
    throw Error(Code::InvalidArgument, "no such step, or prediction and sample differ in size");
  }
  Floats next(sample.size(), sample.data());
  self.Step(index, {prediction.data(), static_cast<size_t>(prediction.size())},
            {next.mutable_data(), static_cast<size_t>(next.size())});
  return next;
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
  testing.def("noise", &Noise, py::arg("seed"), py::arg("count"),
              "float32 [count], the start of the latents of a video with this seed.");
  testing.def("sample_token", &Sample, py::arg("logits"), py::arg("answer"), py::arg("seed"),
              py::arg("turn"), py::arg("options"), "The next token of an answer.");
  py::class_<Scheduler>(testing, "Scheduler", "DDIM or DPM-Solver++ (2M).")
      .def(py::init(&MakeScheduler), py::arg("type"), py::arg("steps"), py::kw_only(),
           py::arg("num_train_timesteps"), py::arg("beta_start"), py::arg("beta_end"),
           py::arg("beta_schedule"), py::arg("prediction_type"), py::arg("rescale_betas_zero_snr"),
           py::arg("timestep_spacing"), py::arg("steps_offset"), py::arg("set_alpha_to_one"),
           py::arg("clip_sample"), py::arg("clip_sample_range") = 1.0,
           py::arg("use_karras_sigmas") = false, py::arg("final_sigmas_type") = "zero",
           py::arg("solver_order") = 2, py::arg("lower_order_final") = true,
           py::arg("euler_at_final") = false)
      .def_property_readonly("timesteps", &Scheduler::timesteps)
      .def("step", &Step, py::arg("index"), py::arg("prediction"), py::arg("sample"),
           "The sample after step `index`, float32 [n].");
}

}  // namespace g4v::bindings
