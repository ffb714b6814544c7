#include "chat/assistant.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bindings/frame_checker.h"
#include "bindings/frames_array.h"
#include "bindings/generator.h"
#include "bindings/gil.h"
#include "bindings/paths.h"
#include "bindings/register.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;

// str or bytes; text without a UTF-8 form (lone surrogates) is refused like invalid bytes.
std::string TextArgument(const py::object& text, const char* name) {
  if (py::isinstance<py::bytes>(text)) return text.cast<std::string>();
  if (!py::isinstance<py::str>(text)) {
    throw Error(Code::InvalidArgument, std::string(name) + " must be a str or bytes");
  }
  try {
    return text.attr("encode")("utf-8").cast<std::string>();
  } catch (py::error_already_set&) {
    throw Error(Code::InvalidArgument, std::string(name) + " is not valid UTF-8 text");
  }
}

// Of frames that were sampled of a longer video: the time of each in seconds, and the video's length.
using Times = std::optional<std::pair<std::vector<double>, double>>;

std::optional<FrameTimes> TimesArgument(const Times& times) {
  if (!times) return std::nullopt;
  return FrameTimes{times->first, times->second};
}

std::shared_ptr<Assistant> Load(const std::filesystem::path& directory, const std::string& device,
                                int threads, const std::filesystem::path& onnxruntime,
                                const Paths& library_dirs, const std::string& verify,
                                const py::object& frame_checker, const Paths& provider_dirs,
                                bool cuda_graphs, int turns, uint64_t kv_memory,
                                const std::string& kv_dtype, int spin_us, int prompt_lookup,
                                const Limits& limits, const py::object& generator) {
  const LoadOptions options{device,
                            threads,
                            onnxruntime.string(),
                            Strings(library_dirs),
                            ParseVerify(verify),
                            PythonFrameChecker(frame_checker),
                            PythonGenerator(generator),
                            Strings(provider_dirs),
                            cuda_graphs,
                            turns,
                            kv_memory,
                            kv_dtype,
                            spin_us,
                            prompt_lookup,
                            limits};
  return MakeForPython([&] { return Assistant::Load(directory, options); });
}

py::array_t<float> ScoreFrames(Assistant& self, const py::object& frames) {
  const std::optional<FramesView> view = FramesArgument(frames, "frames");
  if (!view) throw Error(Code::InvalidArgument, "frames must be a uint8 array [T, H, W, 3]");
  std::vector<float> scores;
  {
    const GilRelease release;
    scores = self.ScoreFrames(*view);
  }
  return py::array_t<float>(static_cast<py::ssize_t>(scores.size()), scores.data());
}

std::shared_ptr<Chat> OpenChat(Assistant& self, std::optional<uint64_t> seed,
                               const std::optional<TextOptions>& text,
                               const std::optional<VideoOptions>& video, const py::object& system) {
  ChatOptions options{seed, text.value_or(TextOptions{}), video.value_or(VideoOptions{})};
  if (!system.is_none()) options.system = TextArgument(system, "system");
  return MakeForPython([&] { return self.Chat(options); });
}

std::shared_ptr<Stream> Generate(Assistant& self, const py::object& prompt,
                                 const std::optional<VideoOptions>& options) {
  const std::string text = TextArgument(prompt, "prompt");
  return MakeForPython([&] { return self.Generate(text, options.value_or(VideoOptions{})); });
}

std::shared_ptr<Stream> Send(Chat& self, const py::object& text, const py::object& frames,
                             const std::optional<TextOptions>& text_options,
                             const std::optional<VideoOptions>& video_options,
                             std::optional<int> question_frames, std::optional<uint64_t> seed,
                             const std::vector<py::object>& stop, std::optional<int> logprobs,
                             bool make_videos, int max_turn_ms, int max_videos, double spent_ms,
                             const Times& frame_times) {
  const std::string words = TextArgument(text, "text");
  const std::optional<FrameTimes> times = TimesArgument(frame_times);
  std::optional<FramesView> view = FramesArgument(frames, "frames");
  if (view && times) view->times = &*times;
  TurnOptions options{text_options.value_or(TextOptions{}), video_options.value_or(VideoOptions{}),
                      question_frames, seed};
  for (const py::object& text_of_stop : stop) {
    options.stop.push_back(TextArgument(text_of_stop, "stop"));
  }
  options.logprobs = logprobs;
  options.make_videos = make_videos;
  options.max_turn_ms = max_turn_ms;
  options.max_videos = max_videos;
  options.spent_ms = spent_ms;
  return MakeForPython([&] { return self.Send(words, view, options); });
}

void Append(Chat& self, const py::object& text, const py::object& answer, const py::object& frames,
            std::optional<int> question_frames, const Times& frame_times) {
  const std::string words = TextArgument(text, "text");
  const std::string answered = TextArgument(answer, "answer");
  const std::optional<FrameTimes> times = TimesArgument(frame_times);
  std::optional<FramesView> view = FramesArgument(frames, "frames");
  if (view && times) view->times = &*times;
  const GilRelease release;
  self.Append(words, answered, view, question_frames);
}

}  // namespace

void RegisterAssistant(py::module_& module) {
  const py::call_guard<GilRelease> release;
  py::class_<Chat, std::shared_ptr<Chat>>(module, "Chat", "A talk with its history.")
      .def("send", &Send, py::arg("text"), py::arg("frames") = py::none(),
           py::arg("text_options") = py::none(), py::arg("video_options") = py::none(),
           py::arg("question_frames") = py::none(), py::arg("seed") = py::none(),
           py::arg("stop") = std::vector<py::object>(), py::arg("logprobs") = py::none(),
           py::arg("make_videos") = true, py::arg("max_turn_ms") = 0, py::arg("max_videos") = 0,
           py::arg("spent_ms") = 0.0, py::arg("frame_times") = py::none(),
           "Starts a turn. frames: C-contiguous uint8 [T, H, W, 3]. frame_times: seconds of each, "
           "and of the whole video.")
      .def("append", &Append, py::arg("text"), py::arg("answer"), py::arg("frames") = py::none(),
           py::arg("question_frames") = py::none(), py::arg("frame_times") = py::none(),
           "Appends a turn that was not generated here; frames as for send.")
      .def(
          "fork",
          [](Chat& self, std::optional<uint64_t> seed) {
            return MakeForPython([&] { return self.Fork(seed); });
          },
          py::arg("seed") = py::none(), "A chat with the same history.")
      .def("truncate", &Chat::Truncate, release, py::arg("turns"),
           "Forgets all turns but the first ones.")
      .def("cancel", &Chat::Cancel, release, "Cancels the turn under way, if any.")
      .def_property_readonly("turns", &Chat::turns)
      .def_property_readonly("bytes", &Chat::bytes)
      .def_property_readonly("context_used", &Chat::context_used)
      .def_property_readonly("context_length", &Chat::context_length)
      .def_property_readonly("seed", &Chat::seed);
  const LoadOptions defaults;
  py::class_<Assistant, std::shared_ptr<Assistant>>(module, "Assistant", "A loaded bundle.")
      .def_static(
          "load", &Load, py::arg("directory"), py::kw_only(), py::arg("device") = defaults.device,
          py::arg("threads") = defaults.threads, py::arg("onnxruntime") = "",
          py::arg("library_dirs") = std::vector<std::string>(),
          py::arg("verify") = NameOf(defaults.verify), py::arg("frame_checker") = py::none(),
          py::arg("provider_dirs") = std::vector<std::string>(),
          py::arg("cuda_graphs") = defaults.cuda_graphs, py::arg("turns") = defaults.turns,
          py::arg("kv_memory") = defaults.kv_memory, py::arg("kv_dtype") = defaults.kv_dtype,
          py::arg("spin_us") = defaults.spin_us, py::arg("prompt_lookup") = defaults.prompt_lookup,
          py::arg("limits") = defaults.limits, py::arg("generator") = py::none(),
          "Loads a bundle directory.")
      .def("chat", &OpenChat, py::kw_only(), py::arg("seed") = py::none(),
           py::arg("text_options") = py::none(), py::arg("video_options") = py::none(),
           py::arg("system") = py::none(), "A new chat.")
      .def("generate", &Generate, py::arg("prompt"), py::arg("options") = py::none(),
           "Makes a video of a caption.")
      .def(
          "check_source",
          [](const Assistant& self, const VideoOptions& options) {
            const SourceSize size = self.CheckSource(options);
            return py::make_tuple(size.frames, size.height, size.width);
          },
          py::arg("options"),
          "(frames, height, width) that `video` of these options must have; refuses the others.")
      .def("score_frames", &ScoreFrames, py::arg("frames"),
           "uint8 [T, H, W, 3] -> float32 [T], 0 to 1; empty where nothing checks.")
      .def(
          "info", [](const Assistant& self) { return self.Info().Dump(); }, release,
          "JSON; the keys are in csrc/chat/assistant.h.")
      .def_property_readonly("kv_bytes", &Assistant::kv_bytes)
      .def(
          "token_bytes",
          [](const Assistant& self, int32_t id) { return py::bytes(self.TokenBytes(id)); },
          py::arg("id"), "The bytes of a token of the decoder.")
      .def("wait_until_ready", &Assistant::WaitUntilReady, release,
           "Waits for what loads in the background.");
}

}  // namespace g4v::bindings
