// Weights in a prompt, as people write them for diffusers with compel: (some words)1.3, word++, word--.
//
// A number from 0 to 10, or + and - signs, right behind a word or a bracket that closes: each + is 1.1
// and each - is 0.9 times. Behind a word only signs are a weight. Brackets nest, and weights multiply;
// brackets without a weight are taken away. A backslash makes a bracket, a sign or another backslash
// text.
#pragma once

#include <string>
#include <vector>

namespace g4v {

// Words that have one weight. The text is not empty and has no white space at its ends.
struct WeightedPart {
  std::string text;
  double weight = 1.0;
};
using WeightedText = std::vector<WeightedPart>;  // neighbours have different weights

// The parts of `text`, UTF-8; none where it has no words. Throws Error(InvalidArgument), which calls the
// text `name`, for brackets that do not match, for weights that cannot be, and for what compel knows and
// this does not (blend, and, swap, attend) or other programs write, such as (words:1.3).
WeightedText ParsePromptWeights(const std::string& text, const std::string& name);

}  // namespace g4v
