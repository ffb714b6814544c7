// BPE over characters as SentencePiece trains it and Llama 2 uses it, with byte fallback.
#pragma once

#include <memory>

#include "base/json.h"
#include "text/tokenizer.h"

namespace g4v {

// The tokenizer of a file of type sentencepiece_bpe. Throws Error(Code::Bundle).
std::unique_ptr<Tokenizer> LoadSentencePieceBpe(const JsonCursor& file);

}  // namespace g4v
