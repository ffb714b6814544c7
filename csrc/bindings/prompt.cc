// The prompt template, for tests: what a chat does with it.
#include "chat/prompt.h"

#include <pybind11/stl.h>

#include "base/json.h"
#include "bindings/register.h"
#include "bundle/manifest_reader.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;

using Ids = std::vector<int32_t>;

PromptSpec ParsePrompt(const std::string& json_text) {
  const Json json = ParseJson(json_text, "prompt");
  return manifest::ReadPrompt(JsonCursor(json, "prompt"));
}

std::string CleanWords(const py::bytes& text, const std::string& prompt) {
  return CleanUserText(ParsePrompt(prompt), std::string(text));
}

Ids OpeningIds(const std::string& prompt, const Tokenizer& tokenizer, const std::string& system) {
  const PromptSpec spec = ParsePrompt(prompt);
  return PromptTemplate(spec, tokenizer).OpeningIds(system);
}

std::vector<Ids> TurnIds(const std::string& prompt, const Tokenizer& tokenizer,
                         const std::optional<std::string>& system, const std::string& text,
                         bool video, const std::vector<double>& seconds, double duration) {
  const PromptSpec spec = ParsePrompt(prompt);
  const PromptTemplate made(spec, tokenizer);
  const FrameTimes times{seconds.empty() ? TimesAtRate(1, kAssumedRate).seconds : seconds,
                         duration};
  const FrameTimes* const frames = video ? &times : nullptr;
  PromptTemplate::TurnIds ids =
      system ? made.FirstTurn(*system, text, frames) : made.LaterTurn(text, frames);
  std::vector<Ids> parts{std::move(ids.before_video)};
  for (Ids& between : ids.between_frames) parts.push_back(std::move(between));
  parts.push_back(std::move(ids.after_video));
  return parts;
}

}  // namespace

void RegisterPrompt(py::module_& testing) {
  testing.def("clean_user_text", &CleanWords, py::arg("text"), py::arg("prompt"),
              "What becomes of a user's words. prompt: the object of g4v.json as JSON.");
  testing.def("opening_ids", &OpeningIds, py::arg("prompt"), py::arg("tokenizer"),
              py::arg("system"), "Ids before the first turn.");
  testing.def(
      "turn_ids", &TurnIds, py::arg("prompt"), py::arg("tokenizer"), py::arg("system"),
      py::arg("text"), py::arg("video"), py::arg("seconds") = std::vector<double>(),
      py::arg("duration") = 0.0,
      "Ids of a turn before its video, between its frames where these have texts, and after it. "
      "system: of the chat's first turn, or None.");
}

}  // namespace g4v::bindings
