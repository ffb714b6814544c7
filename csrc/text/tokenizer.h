// Tokenizers of the base models, exact to the token with their Hugging Face counterparts.
//
// The data comes from export/components/tokenizer.py, which also describes the file format. Four
// families are known: byte-level BPE (GPT-2, Llama 3, Qwen2, SmolLM2), SentencePiece BPE with byte
// fallback (Llama 2), CLIP's BPE and SentencePiece Unigram (T5, UMT5). A tokenizer is immutable after Load; every method may be
// called from any number of threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/added_tokens.h"

namespace g4v {

class Detokenizer;

class Tokenizer {
 public:
  // Reads the text of a tokenizer.json of a bundle. Throws Error(Code::Bundle) with one sentence
  // when the text is damaged, of a newer version or inconsistent.
  static std::unique_ptr<Tokenizer> Load(const std::string& json_text);

  virtual ~Tokenizer();

  // Token ids of UTF-8 text. Special tokens are never recognised in the text, added tokens that are
  // not special are, and no bos or eos is added. A tokenizer that puts a dummy space before the text
  // does so only when first_segment is true. Throws Error(Code::InvalidArgument) on invalid UTF-8.
  std::vector<int32_t> Encode(std::string_view utf8, bool first_segment = true) const;

  // Text of token ids; always valid UTF-8 (broken byte sequences become U+FFFD). The dummy space of
  // Encode is taken off again. Ids outside the vocabulary are skipped, as are special tokens unless
  // skip_special is false.
  std::string Decode(std::span<const int32_t> ids, bool skip_special = true) const;

  // The bytes of one token within a text, maybe a part of a character; of a special token its name.
  // Empty for an id without a token. They live as long as the tokenizer.
  std::string_view TokenBytes(int32_t id) const;

  // One more than the largest id.
  size_t vocab_size() const;

  // Id of a special token such as "</s>", or nothing.
  std::optional<int32_t> TokenId(std::string_view special) const;

 protected:
  Tokenizer(const Vocabulary& vocabulary, std::unique_ptr<const Detokenizer> detokenizer);

  // Once, before the first Encode.
  void SetAddedTokens(const std::vector<AddedToken>& tokens);

  // The two steps of encoding a text without added tokens. `starts_text`: it gets the dummy space,
  // in whichever step the tokenizer has it.
  virtual std::u32string Normalize(std::u32string text, bool starts_text) const = 0;
  virtual void EncodeNormalized(std::u32string text, bool starts_text,
                                std::vector<int32_t>* ids) const = 0;
  // Whether a text behind an added token gets the dummy space, where the whole text does.
  virtual bool spaces_every_piece() const = 0;

 private:
  friend class StreamDecoder;
  std::unique_ptr<const Detokenizer> detokenizer_;
  std::vector<std::pair<std::string, int32_t>> special_;
  AddedTokenFinder raw_tokens_;         // sought in the text as it is
  AddedTokenFinder normalized_tokens_;  // sought in the normalised text
};

// Decodes a stream of tokens, special tokens skipped. Never returns half a UTF-8 character. What
// Push returned so far, followed by Finish, is Decode of all tokens, but for one case: where a run
// of SentencePiece byte tokens is broken, Decode replaces all of the run and the stream only what
// is no character, as it cannot take back text. The tokenizer must outlive it; one thread.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer);
  ~StreamDecoder();
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;

  // Text that is complete with this token; often empty.
  std::string Push(int32_t id);

  // What is left (an unfinished character becomes U+FFFD); afterwards the decoder starts anew.
  std::string Finish();

 private:
  struct State;
  const Detokenizer* detokenizer_;
  std::unique_ptr<State> state_;
};

}  // namespace g4v
