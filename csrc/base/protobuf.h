// Reads the fields of a protobuf message where they lie. The bytes may be hostile: nothing is read
// outside them, and whatever the protobuf library itself would refuse ends the reading.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace g4v {

struct ProtobufField {
  uint32_t number = 0;
  bool has_bytes = false;  // a string or a message, whose content is `bytes`; else a number
  uint64_t value = 0;
  std::span<const uint8_t> bytes;

  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

class ProtobufReader {
 public:
  explicit ProtobufReader(std::span<const uint8_t> message) : left_(message) {}

  // The next field; nothing at the end of the message and where it is no message.
  std::optional<ProtobufField> Next() {
    if (left_.empty() || failed_) return std::nullopt;
    ProtobufField field;
    if (ReadField(&field)) return field;
    failed_ = true;
    return std::nullopt;
  }

  bool failed() const { return failed_; }

 private:
  bool ReadField(ProtobufField* field) {
    uint64_t tag = 0;
    if (!ReadVarint(&tag) || tag > UINT32_MAX || tag < 8) return false;
    field->number = static_cast<uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0:
        return ReadVarint(&field->value);
      case 1:
        return Take(8, &field->bytes);
      case 2: {
        uint64_t size = 0;
        field->has_bytes = true;
        return ReadVarint(&size) && Take(size, &field->bytes);
      }
      case 5:
        return Take(4, &field->bytes);
      default:  // groups, which no message of ONNX has, and what is not defined
        return false;
    }
  }

  bool ReadVarint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (left_.empty()) return false;
      const uint8_t byte = left_.front();
      left_ = left_.subspan(1);
      *value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  bool Take(uint64_t size, std::span<const uint8_t>* bytes) {
    if (size > left_.size()) return false;
    *bytes = left_.first(static_cast<size_t>(size));
    left_ = left_.subspan(static_cast<size_t>(size));
    return true;
  }

  std::span<const uint8_t> left_;
  bool failed_ = false;
};

}  // namespace g4v
