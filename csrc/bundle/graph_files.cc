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

class Walk {
 public:
  explicit Walk(const std::string& name) : name_(name) {}

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
  [[noreturn]] void Refuse(const std::string& why) const {
    throw Error(Code::Bundle, "the graph " + name_ + " cannot be loaded: it " + why);
  }

  template <class Action>
  void ForEach(Bytes message, const Action& action) const {
    ProtobufReader reader(message);
    while (const std::optional<ProtobufField> field = reader.Next()) action(*field);
    if (reader.failed()) Refuse("is no ONNX file, or a damaged one");
  }

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

  const std::string& name_;
};

}  // namespace

std::set<std::string> FilesOfGraph(Bytes model, const std::string& name) {
  Walk walk(name);
  walk.Visit(Kind::Model, model, 0);
  return std::move(walk.files);
}

}  // namespace g4v
