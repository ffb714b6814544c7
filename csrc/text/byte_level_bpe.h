// Byte-level BPE (GPT-2, Llama 3, Qwen2, SmolLM2) and CLIP's BPE, which ends words with "</w>".
#pragma once

#include <memory>
#include <string>

#include "base/json.h"
#include "text/tokenizer.h"

namespace g4v {

// The tokenizer of a file of type byte_level_bpe (no word suffix) or clip_bpe (suffix "</w>").
// Throws Error(Code::Bundle).
std::unique_ptr<Tokenizer> LoadByteLevelBpe(const JsonCursor& file, const std::string& word_suffix);

}  // namespace g4v
