// Tokenizers of the base models, exact to the token with their Hugging Face counterparts.
//
// The data comes from export/tokenizer.py, which is also where the file format is described. Three
// families are known: byte-level BPE (GPT-2, Llama 3, Qwen2, SmolLM2), SentencePiece BPE with byte
// fallback (Llama 2) and CLIP's BPE. A tokenizer is immutable after Load; every method may be
// called from any number of threads at once.
#ifndef G4V_TEXT_TOKENIZER_H_
#define G4V_TEXT_TOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace g4v {

class Tokenizer {
 public:
  // Reads the text of a tokenizer.json of a bundle. Throws Error(Code::Bundle) with one sentence
  // when the text is damaged, of a newer version or inconsistent.
  static std::unique_ptr<Tokenizer> Load(const std::string& json_text);

  virtual ~Tokenizer() = default;

  // Token ids of UTF-8 text. Special tokens are never recognised in the text, and no bos or eos is
  // added. A tokenizer that puts a dummy space before the text does so only when first_segment is
  // true. Throws Error(Code::InvalidArgument) on invalid UTF-8.
  virtual std::vector<int32_t> Encode(std::string_view utf8, bool first_segment = true) const = 0;

  // Text of token ids; always valid UTF-8 (broken byte sequences become U+FFFD). Ids outside the
  // vocabulary are skipped, as are special tokens unless skip_special is false.
  virtual std::string Decode(std::span<const int32_t> ids, bool skip_special = true) const = 0;

  // One more than the largest id.
  virtual size_t vocab_size() const = 0;

  // Id of a special token such as "</s>", or nothing.
  virtual std::optional<int32_t> TokenId(std::string_view special) const = 0;

 private:
  friend class StreamDecoder;

  // Raw bytes that one token adds to a decoded text (special tokens: none). `first` says that
  // nothing was decoded before it, and is cleared by any token that is not skipped.
  virtual void AppendBytes(int32_t id, bool* first, std::string* out) const = 0;
};

// Decodes a stream of tokens: what Push returned so far, followed by Finish, is Decode of all
// tokens. Never returns half a UTF-8 character. The tokenizer must outlive it; one thread.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer);

  // Text that is complete with this token; often empty.
  std::string Push(int32_t id);

  // What is left (an unfinished character becomes U+FFFD); afterwards the decoder starts anew.
  std::string Finish();

 private:
  const Tokenizer* tokenizer_;
  bool first_ = true;
  std::string pending_;
};

}  // namespace g4v

#endif  // G4V_TEXT_TOKENIZER_H_
