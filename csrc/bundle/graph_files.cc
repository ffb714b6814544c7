#include "bundle/graph_files.h"

#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/protobuf.h"

namespace g4v {
namespace {

using Bytes = std::span<const uint8_t>;

enum class Kind { Model, Training, Function, Graph, Node, Attribute, Sparse, Tensor };

struct Child {
  Kind of;
  uint32_t field;
  Kind kind;
};

// The fields of onnx.proto through which tensors and nodes are reached.
constexpr std::array kChildren = {
    Child{Kind::Model, 7, Kind::Graph},          // graph
    Child{Kind::Model, 20, Kind::Training},      // training_info
    Child{Kind::Model, 25, Kind::Function},      // functions
    Child{Kind::Training, 1, Kind::Graph},       // initialization
    Child{Kind::Training, 2, Kind::Graph},       // algorithm
    Child{Kind::Function, 7, Kind::Node},        // node
    Child{Kind::Function, 11, Kind::Attribute},  // attribute_proto
    Child{Kind::Graph, 1, Kind::Node},           // node
    Child{Kind::Graph, 5, Kind::Tensor},         // initializer
    Child{Kind::Graph, 15, Kind::Sparse},        // sparse_initializer
    Child{Kind::Node, 5, Kind::Attribute},       // attribute
    Child{Kind::Attribute, 5, Kind::Tensor},     // t
    Child{Kind::Attribute, 6, Kind::Graph},      // g
    Child{Kind::Attribute, 10, Kind::Tensor},    // tensors
    Child{Kind::Attribute, 11, Kind::Graph},     // graphs
    Child{Kind::Attribute, 22, Kind::Sparse},    // sparse_tensor
    Child{Kind::Attribute, 23, Kind::Sparse},    // sparse_tensors
    Child{Kind::Sparse, 1, Kind::Tensor},        // values
    Child{Kind::Sparse, 2, Kind::Tensor},        // indices
};
constexpr uint32_t kExternalData = 13;  // of a tensor: a key and a value
constexpr uint32_t kKey = 1;
constexpr uint32_t kValue = 2;
constexpr uint32_t kOperator = 4;    // of a node
constexpr uint32_t kAttributes = 5;  // of a node
constexpr uint32_t kName = 1;        // of an attribute
constexpr uint32_t kInteger = 3;
constexpr uint32_t kString = 4;

constexpr int kDeepest = 100;  // as the protobuf library

// What is read of a message, with the graph's name in the errors.
class Message {
 protected:
  explicit Message(const std::string& name) : name_(name) {}

  [[noreturn]] void Refuse(const std::string& why) const {
    throw Error(Code::Bundle, "the graph " + name_ + " cannot be loaded: it " + why);
  }

  template <class Action>
  void ForEach(Bytes message, const Action& action) const {
    ProtobufReader reader(message);
    while (const std::optional<ProtobufField> field = reader.Next()) action(*field);
    if (reader.failed()) Refuse("is no ONNX file, or a damaged one");
  }

 private:
  const std::string& name_;
};

class Walk : private Message {
 public:
  explicit Walk(const std::string& name) : Message(name) {}

  void Visit(Kind kind, Bytes message, int depth) {
    if (depth > kDeepest) Refuse("is nested too deeply");
    if (kind == Kind::Node) VisitEngine(message);
    ForEach(message, [&](const ProtobufField& field) {
      if (!field.has_bytes) return;
      if (kind == Kind::Tensor && field.number == kExternalData) VisitPlace(field.bytes);
      for (const Child& child : kChildren) {
        if (child.of == kind && child.field == field.number) {
          Visit(child.kind, field.bytes, depth + 1);
        }
      }
    });
  }

  std::set<std::string> files;

 private:
  // An entry of external_data. Where a key or value stands there twice, all count.
  void VisitPlace(Bytes entry) {
    bool location = false;
    std::set<std::string> values;
    ForEach(entry, [&](const ProtobufField& field) {
      if (!field.has_bytes) return;
      if (field.number == kKey) location = location || field.text() == "location";
      if (field.number == kValue) values.emplace(field.text());
    });
    if (location) files.merge(values);
  }

  // A node that may be an EPContext, which holds an engine or names its file.
  void VisitEngine(Bytes node) {
    bool engine = false;
    bool embedded = true;  // as ONNX Runtime has it where the attribute is not there
    std::set<std::string> engines;
    std::set<std::string> graphs;  // that they were made of: TensorRT reads weights there
    ForEach(node, [&](const ProtobufField& field) {
      if (!field.has_bytes) return;
      if (field.number == kOperator) engine = engine || field.text() == "EPContext";
      if (field.number != kAttributes) return;
      std::string_view name;
      std::string_view text;
      uint64_t integer = 0;
      ForEach(field.bytes, [&](const ProtobufField& part) {
        if (part.has_bytes && part.number == kName) name = part.text();
        if (part.has_bytes && part.number == kString) text = part.text();
        if (!part.has_bytes && part.number == kInteger) integer = part.value;
      });
      if (name == "embed_mode") embedded = embedded && integer == 1;
      if (name == "ep_cache_context") engines.emplace(text);
      if (name == "onnx_model_filename" && !text.empty()) graphs.emplace(text);
    });
    if (engine && !embedded) files.merge(engines);
    if (engine) files.merge(graphs);
  }
};

// Writes a message anew, with other places of external data.
class Rewrite : private Message {
 public:
  Rewrite(const std::string& name, const std::map<std::string, std::string>& places)
      : Message(name), places_(places) {}

  std::string Write(Kind kind, Bytes message, int depth) const {
    if (depth > kDeepest) Refuse("is nested too deeply");
    std::string out;
    ForEach(message, [&](const ProtobufField& field) {
      if (field.has_bytes && kind == Kind::Tensor && field.number == kExternalData) {
        return AppendBytes(field.number, WritePlace(field.bytes), out);
      }
      for (const Child& child : kChildren) {
        if (field.has_bytes && child.of == kind && child.field == field.number) {
          return AppendBytes(field.number, Write(child.kind, field.bytes, depth + 1), out);
        }
      }
      Append(field, out);
    });
    return out;
  }

 private:
  std::string WritePlace(Bytes entry) const {
    bool location = false;
    ForEach(entry, [&](const ProtobufField& field) {
      location = location || (field.number == kKey && field.text() == "location");
    });
    std::string out;
    ForEach(entry, [&](const ProtobufField& field) {
      if (!location || !field.has_bytes || field.number != kValue) return Append(field, out);
      AppendBytes(field.number, places_.at(std::string(field.text())), out);
    });
    return out;
  }

  static void AppendVarint(uint64_t value, std::string& out) {
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    out += static_cast<char>(value);
  }

  static void AppendBytes(uint32_t number, std::string_view bytes, std::string& out) {
    AppendVarint(uint64_t{number} << 3 | 2, out);
    AppendVarint(bytes.size(), out);
    out += bytes;
  }

  static void Append(const ProtobufField& field, std::string& out) {
    if (field.has_bytes) return AppendBytes(field.number, field.text(), out);
    const size_t fixed = field.bytes.size();  // 8 or 4 bytes, else a varint
    AppendVarint(uint64_t{field.number} << 3 | (fixed == 8 ? 1 : fixed == 4 ? 5 : 0), out);
    if (fixed > 0) {
      out += field.text();
    } else {
      AppendVarint(field.value, out);
    }
  }

  const std::map<std::string, std::string>& places_;
};

}  // namespace

std::set<std::string> FilesOfGraph(Bytes model, const std::string& name) {
  Walk walk(name);
  walk.Visit(Kind::Model, model, 0);
  return std::move(walk.files);
}

std::string WithExternalData(Bytes model, const std::string& name,
                             const std::map<std::string, std::string>& places) {
  return Rewrite(name, places).Write(Kind::Model, model, 0);
}

}  // namespace g4v
