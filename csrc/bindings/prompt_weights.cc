// Prompts with weights, and the states that a bundle's text encoder makes of them, by themselves.
#include "diffusion/prompt_weights.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "base/error.h"
#include "bindings/gil.h"
#include "bindings/register.h"
#include "diffusion/text_encoder.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;

std::vector<std::pair<std::string, double>> Parts(const std::string& text) {
  std::vector<std::pair<std::string, double>> parts;
  for (const WeightedPart& part : ParsePromptWeights(text, "the prompt")) {
    parts.emplace_back(part.text, part.weight);
  }
  return parts;
}

py::array_t<float> States(const std::string& directory, const std::vector<std::string>& texts,
                          bool weighted, const std::vector<std::string>& library_dirs) {
  const Bundle bundle = Bundle::Open(directory, Verify::Size);
  const TokenizerSpec& tokens =
      Require(bundle.manifest().tokenizers.text_encoder, "text encoder tokenizer");
  const std::unique_ptr<Tokenizer> tokenizer = Tokenizer::Load(bundle.ReadText(tokens.file));
  const auto environment = ort::Environment::Get({"", library_dirs});
  Placement placement;
  placement.options.threads = 1;
  placement.targets = ort::ResolveTargets(environment, {.device = "cpu"});
  TextEncoder encoder(bundle, *tokenizer);
  TextStates states;
  {
    const GilRelease release;
    encoder.Open(environment, placement);
    ort::RunControl control(environment);
    if (weighted) {
      std::vector<WeightedText> parts;
      for (const std::string& text : texts) parts.push_back(ParsePromptWeights(text, "the prompt"));
      states = encoder.EncodeWeighted(parts, control);
    } else {
      states = encoder.Encode(texts, control);
    }
  }
  return py::array_t<float>(std::vector<py::ssize_t>{static_cast<py::ssize_t>(texts.size()),
                                                     encoder.length(), encoder.hidden_size()},
                            states.hidden.data());
}

}  // namespace

void RegisterPromptWeights(py::module_& testing) {
  testing.def("prompt_weights", &Parts, py::arg("text"), "The parts of a prompt, with weights.");
  testing.def("text_states", &States, py::arg("directory"), py::arg("texts"),
              py::arg("weighted") = false, py::arg("library_dirs") = std::vector<std::string>(),
              "float32 [B, L, D] of the text encoder of a bundle.");
}

}  // namespace g4v::bindings
