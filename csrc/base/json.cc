#include "base/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/utf8.h"

namespace g4v {
namespace {

constexpr const char* kTypeNames[] = {"null",     "a boolean", "an integer", "a number",
                                      "a string", "an array",  "an object"};

[[noreturn]] void WrongType(const char* wanted, const Json& value) {
  throw Error(Code::Bundle,
              std::string("JSON: expected ") + wanted + ", found " + value.type_name());
}

// Bytes that are no UTF-8, as the name of a file may have, become lone surrogates, as Python has them.
void DumpString(const std::string& text, std::string& out) {
  const auto escape = [&out](unsigned code) {
    char escaped[8];
    std::snprintf(escaped, sizeof escaped, "\\u%04x", code);
    out += escaped;
  };
  out += '"';
  uint32_t code_point = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t length = ReadUtf8(text, i, &code_point);
    const char c = text[i];
    if (length == 0) {
      escape(0xDC00u + static_cast<unsigned char>(c));
      ++i;
      continue;
    }
    i += length;
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (code_point < 0x20) {
          escape(code_point);
        } else {
          out.append(text, i - length, length);
        }
    }
  }
  out += '"';
}

void DumpDouble(double value, std::string& out) {
  if (!std::isfinite(value)) {
    out += "null";  // JSON has no NaN and no infinity
    return;
  }
  char digits[40];
  const auto result = std::to_chars(digits, digits + sizeof(digits), value);
  const std::string_view text(digits, static_cast<size_t>(result.ptr - digits));
  out += text;
  // Reads back as a double, not as an integer.
  if (text.find_first_of(".e") == std::string_view::npos) out += ".0";
}

void DumpTo(const Json& json, std::string& out) {
  switch (json.type()) {
    case Json::Type::Null:
      out += "null";
      break;
    case Json::Type::Bool:
      out += json.AsBool() ? "true" : "false";
      break;
    case Json::Type::Int:
      out += std::to_string(json.AsInt());
      break;
    case Json::Type::Double:
      DumpDouble(json.AsDouble(), out);
      break;
    case Json::Type::String:
      DumpString(json.AsString(), out);
      break;
    case Json::Type::Array: {
      out += '[';
      bool first = true;
      for (const Json& element : json.AsArray()) {
        if (!first) out += ',';
        first = false;
        DumpTo(element, out);
      }
      out += ']';
      break;
    }
    case Json::Type::Object: {
      out += '{';
      bool first = true;
      for (const auto& [key, value] : json.AsObject()) {
        if (!first) out += ',';
        first = false;
        DumpString(key, out);
        out += ':';
        DumpTo(value, out);
      }
      out += '}';
      break;
    }
  }
}

}  // namespace

const char* Json::type_name() const { return kTypeNames[value_.index()]; }

bool Json::AsBool() const {
  const bool* value = std::get_if<bool>(&value_);
  return value ? *value : (WrongType("a boolean", *this), false);
}

int64_t Json::AsInt() const {
  const int64_t* value = std::get_if<int64_t>(&value_);
  if (!value) WrongType("an integer", *this);
  return *value;
}

double Json::AsDouble() const {
  if (const int64_t* integer = std::get_if<int64_t>(&value_)) return static_cast<double>(*integer);
  const double* value = std::get_if<double>(&value_);
  if (!value) WrongType("a number", *this);
  return *value;
}

const std::string& Json::AsString() const {
  const auto* value = std::get_if<std::string>(&value_);
  if (!value) WrongType("a string", *this);
  return *value;
}

const Json::Array& Json::AsArray() const {
  const auto* value = std::get_if<Array>(&value_);
  if (!value) WrongType("an array", *this);
  return *value;
}

const Json::Object& Json::AsObject() const {
  const auto* value = std::get_if<Object>(&value_);
  if (!value) WrongType("an object", *this);
  return *value;
}

const Json* Json::Find(std::string_view key) const {
  for (const auto& [name, value] : AsObject()) {
    if (name == key) return &value;
  }
  return nullptr;
}

std::string Json::Dump() const {
  std::string out;
  DumpTo(*this, out);
  return out;
}

void JsonCursor::Fail(const std::string& message) const {
  throw Error(Code::Bundle, what_ + ": " + (path_.empty() ? "" : path_ + " ") + message);
}

JsonCursor JsonCursor::Get(std::string_view key) const {
  auto found = Find(key);
  if (!found) Fail("has no key \"" + std::string(key) + "\"");
  return *found;
}

std::optional<JsonCursor> JsonCursor::Find(std::string_view key) const {
  if (!value_->is_object()) Fail(std::string("must be an object, not ") + value_->type_name());
  const Json* found = value_->Find(key);
  if (!found) return std::nullopt;
  return JsonCursor(*found, what_,
                    path_.empty() ? std::string(key) : path_ + "." + std::string(key));
}

std::optional<JsonCursor> JsonCursor::FindNotNull(std::string_view key) const {
  auto found = Find(key);
  if (found && found->value().is_null()) return std::nullopt;
  return found;
}

std::vector<JsonCursor> JsonCursor::Elements() const {
  if (!value_->is_array()) Fail(std::string("must be an array, not ") + value_->type_name());
  std::vector<JsonCursor> elements;
  for (const Json& element : value_->AsArray()) {
    elements.push_back(
        JsonCursor(element, what_, path_ + "[" + std::to_string(elements.size()) + "]"));
  }
  return elements;
}

std::vector<std::pair<std::string, JsonCursor>> JsonCursor::Members() const {
  if (!value_->is_object()) Fail(std::string("must be an object, not ") + value_->type_name());
  std::vector<std::pair<std::string, JsonCursor>> members;
  for (const auto& [key, value] : value_->AsObject()) {
    members.emplace_back(key, JsonCursor(value, what_, path_.empty() ? key : path_ + "." + key));
  }
  return members;
}

bool JsonCursor::AsBool() const {
  if (value_->type() != Json::Type::Bool) {
    Fail(std::string("must be true or false, not ") + value_->type_name());
  }
  return value_->AsBool();
}

int64_t JsonCursor::AsInt(int64_t lowest, int64_t highest) const {
  if (value_->type() != Json::Type::Int) {
    Fail(std::string("must be an integer, not ") + value_->type_name());
  }
  const int64_t value = value_->AsInt();
  if (value < lowest || value > highest) {
    const bool open = highest == INT64_MAX;
    Fail("is " + std::to_string(value) + " but must be " +
         (open ? "at least " + std::to_string(lowest)
               : "from " + std::to_string(lowest) + " to " + std::to_string(highest)));
  }
  return value;
}

double JsonCursor::AsDouble() const {
  if (value_->type() != Json::Type::Double && value_->type() != Json::Type::Int) {
    Fail(std::string("must be a number, not ") + value_->type_name());
  }
  return value_->AsDouble();
}

const std::string& JsonCursor::AsString() const {
  if (!value_->is_string()) Fail(std::string("must be a string, not ") + value_->type_name());
  return value_->AsString();
}

std::vector<std::string> JsonCursor::AsStrings() const {
  std::vector<std::string> strings;
  for (const JsonCursor& element : Elements()) strings.push_back(element.AsString());
  return strings;
}

void JsonCursor::ExpectKeys(std::span<const std::string_view> known) const {
  for (const auto& [key, value] : Members()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      value.Fail("is not a known key; was it written by a newer g4v?");
    }
  }
}

}  // namespace g4v
