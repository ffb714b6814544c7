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

std::pair<Ids, Ids> TurnIds(const std::string& prompt, const Tokenizer& tokenizer,
                            const std::optional<std::string>& system, const std::string& text,
                            bool video) {
  const PromptSpec spec = ParsePrompt(prompt);
  const PromptTemplate made(spec, tokenizer);
  PromptTemplate::TurnIds ids =
      system ? made.FirstTurn(*system, text, video) : made.LaterTurn(text, video);
  return {std::move(ids.before_video), std::move(ids.after_video)};
}

}  // namespace

void RegisterPrompt(py::module_& testing) {
  testing.def("clean_user_text", &CleanWords, py::arg("text"), py::arg("prompt"),
              "What becomes of a user's words. prompt: the object of g4v.json as JSON.");
  testing.def("opening_ids", &OpeningIds, py::arg("prompt"), py::arg("tokenizer"),
              py::arg("system"), "Ids before the first turn.");
  testing.def(
      "turn_ids", &TurnIds, py::arg("prompt"), py::arg("tokenizer"), py::arg("system"),
      py::arg("text"), py::arg("video"),
      "Ids of a turn before and after its video. system: of the chat's first turn, or None.");
}

}  // namespace g4v::bindings
