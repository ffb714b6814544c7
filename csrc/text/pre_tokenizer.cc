#include "text/pre_tokenizer.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "text/unicode.h"

namespace g4v {
namespace {

using Text = std::u32string_view;

bool IsLetter(char32_t c) { return ClassOf(c) & kLetter; }
bool IsNumber(char32_t c) { return ClassOf(c) & kNumber; }
bool IsSpace(char32_t c) { return ClassOf(c) & kSpace; }
bool IsOther(char32_t c) { return !(ClassOf(c) & (kLetter | kNumber | kSpace)); }
bool IsLineEnd(char32_t c) { return c == '\n' || c == '\r'; }

// End of the run of characters from `i` that satisfy the predicate, at most `limit` of them.
template <typename Predicate>
size_t RunEnd(Text text, size_t i, Predicate predicate, size_t limit = Text::npos) {
  const size_t start = i;
  while (i < text.size() && i - start < limit && predicate(text[i])) ++i;
  return i;
}

// Length of an English contraction at `i` ('s 't 're 've 'm 'll 'd), or 0.
size_t Contraction(Text text, size_t i, bool ignore_case) {
  if (text[i] != '\'' || i + 1 >= text.size()) return 0;
  const auto letter = [&](size_t k) -> char32_t {
    if (k >= text.size()) return 0;
    const char32_t c = text[k];
    if (!ignore_case) return c;
    if (c == 0x17F) return 's';  // the long s folds to s; it is the only such letter here
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
  };
  const char32_t a = letter(i + 1), b = letter(i + 2);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
  return 0;
}

// \s+(?!\S)|\s+ : a run of spaces leaves its last one to the word that follows.
size_t SpacesEnd(Text text, size_t i) {
  const size_t end = RunEnd(text, i, IsSpace);
  return end < text.size() && end - i > 1 ? end - 1 : end;
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t Gpt2WordEnd(Text text, size_t i) {
  if (const size_t length = Contraction(text, i, false)) return i + length;
  const size_t start = text[i] == ' ' && i + 1 < text.size() ? i + 1 : i;
  const char32_t c = text[start];
  if (IsLetter(c)) return RunEnd(text, start, IsLetter);
  if (IsNumber(c)) return RunEnd(text, start, IsNumber);
  if (IsOther(c)) return RunEnd(text, start, IsOther);
  return SpacesEnd(text, i);
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}
// | ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
size_t Llama3WordEnd(Text text, size_t i, size_t digits) {
  if (const size_t length = Contraction(text, i, true)) return i + length;
  const char32_t c = text[i];
  if (IsLetter(c)) return RunEnd(text, i, IsLetter);
  if (IsNumber(c)) return RunEnd(text, i, IsNumber, digits);
  if (!IsLineEnd(c) && i + 1 < text.size() && IsLetter(text[i + 1])) {
    return RunEnd(text, i + 1, IsLetter);
  }
  const size_t start = c == ' ' && i + 1 < text.size() ? i + 1 : i;
  if (IsOther(text[start])) return RunEnd(text, RunEnd(text, start, IsOther), IsLineEnd);
  const size_t end = RunEnd(text, i, IsSpace);
  for (size_t k = end; k > i; --k) {
    if (IsLineEnd(text[k - 1])) return k;
  }
  return SpacesEnd(text, i);
}

// <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+ on a
// character that is no space; the first two only with `special`.
size_t ClipWordEnd(Text text, size_t i, bool special) {
  if (special) {
    for (const Text word : {Text(U"<|startoftext|>"), Text(U"<|endoftext|>")}) {
      if (text.substr(i, word.size()) == word) return i + word.size();
    }
  }
  if (const size_t length = Contraction(text, i, false)) return i + length;
  if (IsLetter(text[i])) return RunEnd(text, i, IsLetter);
  if (IsNumber(text[i])) return i + 1;
  return RunEnd(text, i, IsOther);
}

template <typename WordEnd>
void EmitWords(Text text, const std::function<void(Text)>& emit, WordEnd word_end) {
  for (size_t i = 0; i < text.size();) {
    const size_t end = word_end(text, i);
    emit(text.substr(i, end - i));
    i = end;
  }
}

void EmitClipWords(Text text, bool special, const std::function<void(Text)>& emit) {
  for (size_t i = 0; i < text.size();) {
    if (IsSpace(text[i])) {
      ++i;
      continue;
    }
    const size_t end = ClipWordEnd(text, i, special);
    // A byte-level pre-tokenizer comes second, which splits the two special words further.
    EmitWords(text.substr(i, end - i), emit, Gpt2WordEnd);
    i = end;
  }
}

}  // namespace

std::optional<PreTokenizer> FindPreTokenizer(std::string_view name) {
  constexpr std::pair<std::string_view, PreTokenizer> kNames[] = {
      {"none", PreTokenizer::kNone},
      {"gpt2", PreTokenizer::kGpt2},
      {"smollm2", PreTokenizer::kSmolLm2},
      {"llama3", PreTokenizer::kLlama3},
      {"qwen2", PreTokenizer::kQwen2},
      {"clip", PreTokenizer::kClip},
      {"clip_special", PreTokenizer::kClipSpecial},
  };
  for (const auto& [known, kind] : kNames) {
    if (known == name) return kind;
  }
  return std::nullopt;
}

void SplitWords(PreTokenizer kind, Text text, const std::function<void(Text)>& emit) {
  switch (kind) {
    case PreTokenizer::kNone:
      if (!text.empty()) emit(text);
      return;
    case PreTokenizer::kGpt2:
      return EmitWords(text, emit, Gpt2WordEnd);
    case PreTokenizer::kSmolLm2:
      for (size_t i = 0; i < text.size();) {
        const auto is_digit = [](char32_t c) { return (ClassOf(c) & kDigitSplit) != 0; };
        const size_t end =
            is_digit(text[i]) ? i + 1 : RunEnd(text, i, [&](char32_t c) { return !is_digit(c); });
        EmitWords(text.substr(i, end - i), emit, Gpt2WordEnd);
        i = end;
      }
      return;
    case PreTokenizer::kLlama3:
      return EmitWords(text, emit, [](Text t, size_t i) { return Llama3WordEnd(t, i, 3); });
    case PreTokenizer::kQwen2:
      return EmitWords(text, emit, [](Text t, size_t i) { return Llama3WordEnd(t, i, 1); });
    case PreTokenizer::kClip:
      return EmitClipWords(text, false, emit);
    case PreTokenizer::kClipSpecial:
      return EmitClipWords(text, true, emit);
  }
}

}  // namespace g4v
