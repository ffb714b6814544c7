// The states of texts whose parts have weights.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "diffusion/text_encoder.h"

namespace g4v {
namespace {

// How often the text without a part counts, where the text itself counts once: 0 at weight 1, 1 at a
// half, and very often at 0.
double CountWithout(double weight) {
  constexpr double kLeast = 1e-5;  // at 0 it would be infinite
  return std::tan((1.0 - std::max(weight, kLeast)) * std::numbers::pi / 2);
}

}  // namespace

bool TextEncoder::ReadsWhole(const WeightedText& text) const {
  size_t count = 0;
  for (const WeightedPart& part : text) count += tokenizer_.Encode(part.text).size();
  return count <= Capacity();
}

TextStates TextEncoder::EncodeWeighted(std::span<const WeightedText> texts,
                                       ort::RunControl& control) const {
  TextStates states;
  states.length = length();
  WithSession([&](ort::Session& session) {
    std::vector<float> empty;
    const auto encode = [&](const std::vector<int32_t>& tokens, int64_t* length) {
      std::vector<int64_t> ids;
      *length = AppendRow(tokens, &ids);
      return Run(session, ids, {*length}, control).hidden;
    };
    // All parts but the one at `without`; none is left out where there is no such part.
    const auto weighted = [&](const WeightedText& text, size_t without, int64_t* length) {
      std::vector<int32_t> tokens;
      std::vector<double> weights(tokens_.bos ? 1 : 0, 1.0);
      for (size_t i = 0; i < text.size(); ++i) {
        if (i == without) continue;
        const std::vector<int32_t> part = tokenizer_.Encode(text[i].text);
        tokens.insert(tokens.end(), part.begin(), part.end());
        weights.insert(weights.end(), part.size(), text[i].weight);
      }
      std::vector<float> hidden = encode(tokens, length);
      const size_t around = tokens_.bos ? 1 : 0;
      weights.resize(std::min(weights.size(), around + Capacity()));
      const bool plain =
          std::all_of(weights.begin(), weights.end(), [](double weight) { return weight == 1.0; });
      if (plain) return hidden;
      int64_t unused = 0;
      if (empty.empty()) empty = encode({}, &unused);
      const auto width = static_cast<size_t>(hidden_size());
      for (size_t i = 0; i < weights.size(); ++i) {
        if (weights[i] == 1.0) continue;
        for (size_t j = i * width; j < (i + 1) * width; ++j) {
          hidden[j] = static_cast<float>(empty[j] + weights[i] * (double{hidden[j]} - empty[j]));
        }
      }
      return hidden;
    };
    for (const WeightedText& text : texts) {
      int64_t length = 0;
      std::vector<float> hidden = weighted(text, text.size(), &length);
      std::vector<double> sum(hidden.begin(), hidden.end());
      double total = 1.0;
      size_t start = 0;  // of the part, in tokens
      for (size_t i = 0; i < text.size() && start < Capacity();
           ++i) {  // what is cut off has no say
        start += tokenizer_.Encode(text[i].text).size();
        if (text[i].weight >= 1.0) continue;
        const double count = CountWithout(text[i].weight);
        int64_t unused = 0;
        const std::vector<float> others = weighted(text, i, &unused);
        for (size_t j = 0; j < sum.size(); ++j) sum[j] += count * others[j];
        total += count;
      }
      if (total > 1.0) {
        std::transform(sum.begin(), sum.end(), hidden.begin(),
                       [total](double value) { return static_cast<float>(value / total); });
      }
      states.hidden.insert(states.hidden.end(), hidden.begin(), hidden.end());
      states.lengths.push_back(length);
    }
  });
  return states;
}

}  // namespace g4v
