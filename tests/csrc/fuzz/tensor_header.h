// Headers of safetensors files whose tensors lie where their types and shapes say.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/json.h"

namespace g4v::fuzz {

constexpr int64_t kMostData = 1 << 20;  // bytes

// Bytes of the tensor that an entry of the header describes; nothing where that is none of a known
// size.
inline std::optional<int64_t> BytesOf(const Json& entry, int64_t* element) {
  static const std::map<std::string, int64_t> kElements = {
      {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I8", 1}, {"U8", 1}};
  const Json* const dtype = entry.is_object() ? entry.Find("dtype") : nullptr;
  const Json* const shape = entry.is_object() ? entry.Find("shape") : nullptr;
  if (!dtype || !dtype->is_string() || !kElements.contains(dtype->AsString())) return std::nullopt;
  if (!shape || !shape->is_array()) return std::nullopt;
  int64_t bytes = *element = kElements.at(dtype->AsString());
  for (const Json& size : shape->AsArray()) {
    const int64_t extent = size.type() == Json::Type::Int ? size.AsInt() : -1;
    if (extent < 0 || extent > kMostData || (bytes *= extent) > kMostData) return std::nullopt;
  }
  return bytes;
}

// The header with each tensor behind another, those of wide elements first, and the bytes of all.
inline std::pair<std::string, int64_t> LaidOut(const Json& header) {
  if (!header.is_object()) return {header.Dump(), 0};
  int64_t end = 0;
  Json::Object tensors = header.AsObject();
  for (const int64_t width : {4, 2, 1}) {
    for (auto& [name, entry] : tensors) {
      int64_t element = 0;
      const std::optional<int64_t> bytes = BytesOf(entry, &element);
      if (!bytes || element != width || *bytes > kMostData - end) continue;
      Json::Object changed = entry.AsObject();
      for (auto& [key, value] : changed) {
        if (key == "data_offsets") value = Json::Array{end, end + *bytes};
      }
      entry = std::move(changed);
      end += *bytes;
    }
  }
  return {Json(tensors).Dump(), end};
}

}  // namespace g4v::fuzz
