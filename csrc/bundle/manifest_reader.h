// What the files that read a manifest share: checked scalars, and the readers of its parts.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "bundle/manifest.h"

namespace g4v::manifest {

constexpr int64_t kMaxSize = 1 << 24;  // no width, count or length in a manifest is larger
constexpr int64_t kMaxId = INT32_MAX;

int ReadSize(const JsonCursor& object, std::string_view key);  // an integer of at least 1
double ReadPositive(const JsonCursor& cursor);
double ReadFrom(const JsonCursor& cursor, double lowest, double highest);
std::string ReadWord(const JsonCursor& cursor, std::span<const std::string_view> words);
inline std::string ReadWord(const JsonCursor& cursor,
                            std::initializer_list<std::string_view> words) {
  return ReadWord(cursor, std::span(words.begin(), words.size()));
}
std::optional<int32_t> ReadOptionalId(const JsonCursor& object, std::string_view key);
// A file that the manifest's "files" lists.
std::string ReadListedFile(const JsonCursor& cursor, const Manifest& manifest);

// "variants" of a component. extra: a key that those of this component alone have.
std::vector<Variant> ReadVariants(const JsonCursor& component, const Manifest& manifest,
                                  std::string_view extra = {});

UnetSpec ReadUnet(const JsonCursor& cursor, const Manifest& manifest);
TransformerSpec ReadTransformer(const JsonCursor& cursor, const Manifest& manifest);
VaeDecoderSpec ReadVaeDecoder(const JsonCursor& cursor, const Manifest& manifest);
VaeEncoderSpec ReadVaeEncoder(const JsonCursor& cursor, const Manifest& manifest);

PromptSpec ReadPrompt(const JsonCursor& cursor);

VideoGenerationSpec ReadVideoGeneration(const JsonCursor& cursor);

// "components"; manifest.files must have been read.
ComponentsSpec ReadComponents(const JsonCursor& cursor, const Manifest& manifest);

}  // namespace g4v::manifest
