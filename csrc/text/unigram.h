// SentencePiece Unigram (Kudo, arXiv 1804.10959): of all ways to write a text as pieces the one whose
// scores have the largest sum.
//
// The same tokens as SentencePiece's own encoder, float32 sums, ties and normalisation included. T5
// and UMT5 have such tokenizers.
#pragma once

#include <memory>

#include "base/json.h"
#include "text/tokenizer.h"

namespace g4v {

// Reads a tokenizer file of the type "unigram". Throws Error(Code::Bundle).
std::unique_ptr<Tokenizer> LoadUnigram(const JsonCursor& file);

}  // namespace g4v
