// JSON values, a strict parser (RFC 8259) and a cursor whose errors name the path of what is wrong.
//
// The parser refuses what a hostile or damaged file may hold: nesting deeper than the limit,
// duplicate keys, invalid UTF-8, lone surrogates, numbers that do not fit, comments, trailing text.
// Every failure is Error(Code::Bundle).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/utf8.h"

namespace g4v {

class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;  // in the order of the text
  enum class Type { Null, Bool, Int, Double, String, Array, Object };

  Json() = default;
  Json(bool value) : value_(value) {}
  Json(int value) : value_(static_cast<int64_t>(value)) {}
  Json(int64_t value) : value_(value) {}
  Json(double value) : value_(value) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(Array value) : value_(std::move(value)) {}
  Json(Object value) : value_(std::move(value)) {}

  Type type() const { return static_cast<Type>(value_.index()); }
  const char* type_name() const;  // "null", "a boolean", "an integer", "a number", "a string", ...
  bool is_null() const { return type() == Type::Null; }
  bool is_string() const { return type() == Type::String; }
  bool is_array() const { return type() == Type::Array; }
  bool is_object() const { return type() == Type::Object; }

  // Typed access; a wrong type throws Error(Bundle) without a path (use JsonCursor where the path
  // matters).
  bool AsBool() const;
  int64_t AsInt() const;
  double AsDouble() const;  // integers too
  const std::string& AsString() const;
  const Array& AsArray() const;
  const Object& AsObject() const;
  const Json* Find(std::string_view key) const;  // nullptr where the object has no such key

  // Compact text, keys in order; doubles with the fewest digits that read back the same.
  std::string Dump() const;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

// Parses one JSON text. `what` names the text in messages ("g4v.json").
Json ParseJson(std::string_view text, std::string_view what = "JSON", int max_depth = 64);

// A place in a JSON value together with its path ("components.encoder.mean[2]"). The value must
// outlive the cursor.
class JsonCursor {
 public:
  explicit JsonCursor(const Json& value, std::string what = "JSON")
      : value_(&value), what_(std::move(what)) {}

  const Json& value() const { return *value_; }
  const std::string& path() const { return path_; }

  JsonCursor Get(std::string_view key) const;                  // throws where the key is missing
  std::optional<JsonCursor> Find(std::string_view key) const;  // nothing where it is missing
  std::optional<JsonCursor> FindNotNull(
      std::string_view key) const;                                  // nothing where missing or null
  std::vector<JsonCursor> Elements() const;                         // of an array
  std::vector<std::pair<std::string, JsonCursor>> Members() const;  // of an object

  bool AsBool() const;
  int64_t AsInt(int64_t lowest = INT64_MIN, int64_t highest = INT64_MAX) const;
  double AsDouble() const;  // finite
  const std::string& AsString() const;
  std::vector<std::string> AsStrings() const;  // an array of strings

  // Throws where the object has a key that is not listed.
  void ExpectKeys(std::span<const std::string_view> known) const;
  void ExpectKeys(std::initializer_list<std::string_view> known) const {
    ExpectKeys(std::span(known.begin(), known.size()));
  }
  // Throws Error(Bundle): "<what>: <path> <message>".
  [[noreturn]] void Fail(const std::string& message) const;

 private:
  JsonCursor(const Json& value, std::string what, std::string path)
      : value_(&value), what_(std::move(what)), path_(std::move(path)) {}

  const Json* value_;
  std::string what_;
  std::string path_;
};

}  // namespace g4v
