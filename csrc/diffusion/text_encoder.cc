#include "diffusion/text_encoder.h"

#include <algorithm>

#include "base/error.h"
#include "base/memory.h"

namespace g4v {

using ort::NamedTensor;
using ort::View;

std::vector<int64_t> TextStates::Mask() const {
  std::vector<int64_t> mask;
  for (const int64_t used : lengths) {
    for (int64_t i = 0; i < length; ++i) mask.push_back(i < used ? 1 : 0);
  }
  return mask;
}

TextEncoder::TextEncoder(const Bundle& bundle, const Tokenizer& tokenizer)
    : bundle_(bundle),
      tokenizer_(tokenizer),
      tokens_(Require(bundle.manifest().tokenizers.text_encoder, "text encoder tokenizer")),
      spec_(Require(bundle.manifest().components.text_encoder, "text encoder")) {}

void TextEncoder::Open(std::shared_ptr<ort::Environment> environment, const Placement& placement) {
  open_session_ = [this, environment, placement] {
    return std::make_unique<ort::Session>(
        environment, GraphFor(bundle_, spec_.variants, placement, "text_encoder"));
  };
  if (!spec_.load_per_video) session_ = open_session_();
}

size_t TextEncoder::Capacity() const {
  const size_t length = static_cast<size_t>(spec_.max_length);
  const size_t around = (tokens_.bos ? 1 : 0) + (tokens_.eos ? 1 : 0);
  return length - std::min(length, around);
}

bool TextEncoder::ReadsWhole(const std::string& text) const {
  return tokenizer_.Encode(text).size() <= Capacity();
}

// [bos] text [eos] pad ..., cut to max_length as diffusers' pipelines cut it.
int64_t TextEncoder::AppendRow(std::vector<int32_t> tokens, std::vector<int64_t>* ids) const {
  tokens.resize(std::min(tokens.size(), Capacity()));
  const size_t start = ids->size();
  if (tokens_.bos) ids->push_back(*tokens_.bos);
  ids->insert(ids->end(), tokens.begin(), tokens.end());
  if (tokens_.eos) ids->push_back(*tokens_.eos);
  const size_t length = static_cast<size_t>(spec_.max_length);
  const size_t used = std::min(ids->size() - start, length);
  ids->resize(start + length, tokens_.pad.value_or(0));
  return static_cast<int64_t>(used);
}

TextStates TextEncoder::Encode(std::span<const std::string> texts, ort::RunControl& control) const {
  std::vector<int64_t> ids;
  std::vector<int64_t> lengths;
  for (const std::string& text : texts) {
    lengths.push_back(AppendRow(tokenizer_.Encode(text), &ids));
  }
  TextStates states;
  WithSession([&](ort::Session& session) { states = Run(session, ids, lengths, control); });
  return states;
}

void TextEncoder::WithSession(const std::function<void(ort::Session&)>& use) const {
  if (session_) return use(*session_);
  use(*open_session_());
  ReturnFreedMemory();  // of the session
}

TextStates TextEncoder::Run(ort::Session& session, const std::vector<int64_t>& ids,
                            std::vector<int64_t> lengths, ort::RunControl& control) const {
  TextStates states;
  states.lengths = std::move(lengths);
  states.length = length();
  const auto batch = static_cast<int64_t>(states.lengths.size());
  std::vector<int64_t> mask;
  if (spec_.attention_mask) mask = states.Mask();
  states.hidden.resize(ids.size() * static_cast<size_t>(hidden_size()));
  std::vector<NamedTensor> inputs = {{"input_ids", View(ids, {batch, length()})}};
  if (spec_.attention_mask) inputs.push_back({"attention_mask", View(mask, {batch, length()})});
  const NamedTensor output{"hidden_states", View(states.hidden, {batch, length(), hidden_size()})};
  session.Run(inputs, {&output, 1}, &control);
  if (spec_.zero_padding) ZeroPadding(&states);
  return states;
}

void TextEncoder::ZeroPadding(TextStates* states) const {
  const int64_t row = length() * hidden_size();
  for (size_t text = 0; text < states->lengths.size(); ++text) {
    const auto start = states->hidden.begin() + static_cast<ptrdiff_t>(text) * row;
    std::fill(start + states->lengths[text] * hidden_size(), start + row, 0.0f);
  }
}

}  // namespace g4v
