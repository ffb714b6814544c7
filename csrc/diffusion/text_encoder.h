// The text encoder of the video generator: texts to the states that the denoiser attends to.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "bundle/placement.h"
#include "diffusion/prompt_weights.h"
#include "ort/session.h"
#include "text/tokenizer.h"

namespace g4v {

// What the text encoder makes of B texts, each cut or padded to L tokens.
struct TextStates {
  std::vector<float> hidden;     // [B, L, D]
  std::vector<int64_t> lengths;  // [B]: tokens before the padding, bos and eos among them
  int64_t length = 0;            // L

  std::vector<int64_t> Mask() const;  // [B, L]: 1 for these tokens, 0 for the padding
};

class TextEncoder {
 public:
  // `bundle` and `tokenizer` must outlive it. Throws Error(Bundle) where a component is missing.
  TextEncoder(const Bundle& bundle, const Tokenizer& tokenizer);

  // Opens the session, once and before the first Encode; or, where the bundle's text encoder is to be
  // loaded for each video, says how Encode opens it, which then closes it again.
  void Open(std::shared_ptr<ort::Environment> environment, const Placement& placement);

  // The states of `texts`. Any number of threads. Throws Error(Cancelled) after control.Terminate().
  TextStates Encode(std::span<const std::string> texts, ort::RunControl& control) const;

  // The same of texts whose parts have weights, each part tokenized for itself. A token of weight w
  // has the state e + w * (z - e), z being its own and e that of the empty text at its place. Where
  // parts that are not cut off have a weight below 1, a text's states are the mean of these and, for
  // each such part, of those of the text without it, the former counted once and the latter
  // tan((1 - w) * pi / 2) times.
  TextStates EncodeWeighted(std::span<const WeightedText> texts, ort::RunControl& control) const;

  // Whether it reads `text` to its end.
  bool ReadsWhole(const std::string& text) const;
  bool ReadsWhole(const WeightedText& text) const;

  int64_t length() const { return spec_.max_length; }
  int64_t hidden_size() const { return spec_.hidden_size; }

 private:
  size_t Capacity() const;  // tokens of a text without its bos and eos
  // Appends tokens as a row of L ids; returns its length before the padding.
  int64_t AppendRow(std::vector<int32_t> tokens, std::vector<int64_t>* ids) const;
  TextStates Run(ort::Session& session, const std::vector<int64_t>& ids,
                 std::vector<int64_t> lengths, ort::RunControl& control) const;
  // Calls `use` with the session, which may be open for this call alone.
  void WithSession(const std::function<void(ort::Session&)>& use) const;
  void ZeroPadding(TextStates* states) const;

  const Bundle& bundle_;
  const Tokenizer& tokenizer_;
  const TokenizerSpec& tokens_;
  const TextEncoderSpec& spec_;
  std::function<std::unique_ptr<ort::Session>()> open_session_;
  std::unique_ptr<ort::Session> session_;  // none where each Encode has its own
};

}  // namespace g4v
