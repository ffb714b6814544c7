// Changes of inputs, as bytes and as JSON. The same seed gives the same changes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace g4v::fuzz {

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  uint32_t Number() { return static_cast<uint32_t>(random_()); }
  size_t Below(size_t limit) { return random_() % std::max<size_t>(limit, 1); }

  // A few changes of bytes. `other` is another input, of which a part may be taken.
  void Change(std::vector<uint8_t>& bytes, const std::vector<uint8_t>& other, size_t most) {
    for (size_t left = 1 + Below(5); left > 0; --left) {
      const size_t at = Below(bytes.size() + 1), end = std::min(bytes.size(), at + Below(16));
      const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
      const auto stop = bytes.begin() + static_cast<std::ptrdiff_t>(end);
      switch (Below(7)) {
        case 0:
          if (at < bytes.size()) bytes[at] ^= static_cast<uint8_t>(1u << Below(8));
          break;
        case 1:
          if (at < bytes.size()) bytes[at] = static_cast<uint8_t>(Number());
          break;
        case 2:
          bytes.erase(place, stop);
          break;
        case 3: {
          const std::vector<uint8_t> again(place, stop);
          bytes.insert(place, again.begin(), again.end());
          break;
        }
        case 4:
          bytes.insert(place, static_cast<uint8_t>(Number()));
          break;
        case 5: {
          static constexpr uint8_t kEdges[] = {0, 1, 0x7F, 0x80, 0xFF, '"', '<', '{', '0', ' '};
          for (size_t i = at; i < end; ++i) bytes[i] = kEdges[Below(std::size(kEdges))];
          break;
        }
        default: {
          const size_t from = Below(other.size() + 1),
                       size = std::min(other.size() - from, Below(64));
          const auto first = other.begin() + static_cast<std::ptrdiff_t>(from);
          bytes.insert(place, first, first + static_cast<std::ptrdiff_t>(size));
        }
      }
    }
    if (bytes.size() > most) bytes.resize(most);
  }

  // A value that is likely to be at the edge of what a reader takes.
  Json Edge() {
    static const std::vector<Json> edges = {Json(),
                                            false,
                                            true,
                                            0,
                                            1,
                                            -1,
                                            2147483647,
                                            int64_t{1} << 31,
                                            INT64_MAX,
                                            INT64_MIN,
                                            16777216,
                                            16777217,
                                            0.0,
                                            1e308,
                                            -1e308,
                                            1e-308,
                                            0.5,
                                            "",
                                            "\n",
                                            "a/../../b",
                                            "F16",
                                            "BF16",
                                            "I8",
                                            "U8",
                                            "\u00E9",
                                            Json::Array{},
                                            Json::Object{},
                                            Json(std::string("\0", 1)),
                                            Json(std::string(300, 'x'))};
    return edges[Below(edges.size())];
  }

  // One change somewhere in a JSON value.
  void Change(Json& json) {
    if (json.is_array() && Below(4) > 0) {
      Json::Array elements = json.AsArray();
      if (!elements.empty())
        ChangeElements(elements, [](Json& element) -> Json& { return element; });
      json = std::move(elements);
    } else if (json.is_object() && Below(8) > 0) {
      Json::Object members = json.AsObject();
      if (!members.empty())
        ChangeElements(members, [](auto& member) -> Json& { return member.second; });
      if (!members.empty() && Below(32) == 0) members[Below(members.size())].first += "x";
      json = std::move(members);
    } else if (json.type() == Json::Type::Int && Below(2) == 0) {
      json = static_cast<int64_t>(static_cast<uint64_t>(json.AsInt()) + Below(5) - 2);
    } else if (json.is_string() && Below(2) == 0) {
      std::string text = json.AsString();
      text.insert(Below(text.size() + 1), 1, static_cast<char>(Number() % 128));
      json = std::move(text);
    } else {
      json = Edge();
    }
  }

 private:
  template <class List, class ValueOf>
  void ChangeElements(List& list, const ValueOf& value_of) {
    const size_t at = Below(list.size()), other = Below(list.size());
    const auto place = list.begin() + static_cast<std::ptrdiff_t>(at);
    switch (Below(12)) {
      case 0:
        list.erase(place);
        break;
      case 1:
        if constexpr (std::is_same_v<List, Json::Array>) list.insert(place, Json(list[other]));
        break;
      case 2:
        value_of(list[at]) = Json(value_of(list[other]));
        break;
      case 3:
        if constexpr (std::is_same_v<List, Json::Array>) list.clear();
        break;
      default:
        Change(value_of(list[at]));
    }
  }

  std::mt19937 random_;
};

// The mutator of targets whose input is JSON; one that is none is left to the changes of bytes.
inline size_t ChangeJson(uint8_t* data, size_t size, size_t most, unsigned seed) {
  Mutator mutator(seed);
  try {
    Json json = ParseJson({reinterpret_cast<const char*>(data), size});
    for (size_t left = 1 + mutator.Below(3); left > 0; --left) mutator.Change(json);
    const std::string text = json.Dump();
    if (text.size() > most) return size;
    std::copy(text.begin(), text.end(), data);
    return text.size();
  } catch (const Error&) {
    std::vector<uint8_t> bytes(data, data + size);
    mutator.Change(bytes, {}, most);
    std::copy(bytes.begin(), bytes.end(), data);
    return bytes.size();
  }
}

}  // namespace g4v::fuzz
