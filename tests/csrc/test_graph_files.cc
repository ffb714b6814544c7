// Which files a graph names, wherever in it; and graphs that are cut, changed or nested without
// end.
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>

#include "bundle/graph_files.h"
#include "check.h"

namespace {

using g4v::Code;
using Names = std::set<std::string>;

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

std::string Number(uint32_t field, uint64_t value) { return Varint(field << 3) + Varint(value); }

std::string Message(uint32_t field, const std::string& content) {
  return Varint(field << 3 | 2) + Varint(content.size()) + content;
}

// A tensor whose values are in `location`.
std::string Tensor(const std::string& location) {
  return Number(2, 1) + Message(8, "weight") +
         Message(13, Message(1, "offset") + Message(2, "64")) +
         Message(13, Message(1, "location") + Message(2, location)) + Number(14, 1);
}

std::string Graph(const std::string& fields) { return Number(1, 8) + Message(7, fields); }

std::string Attribute(const std::string& name, const std::string& fields) {
  return Message(5, Message(1, name) + fields);
}

std::string Engine(const std::string& attributes) {
  return Graph(Message(1, Message(4, "EPContext") + attributes + Message(7, "com.microsoft")));
}

Names Files(const std::string& model) {
  return g4v::FilesOfGraph({reinterpret_cast<const uint8_t*>(model.data()), model.size()},
                           "x.onnx");
}

// A model that names one file in every place that there is for one: "0", "1", ...
std::string EveryPlace(int* count) {
  int next = 0;
  const auto tensor = [&] { return Tensor(std::to_string(next++)); };
  const auto sparse = [&] { return Message(1, tensor()) + Message(2, tensor()); };
  const auto tensors = [&] { return Message(5, tensor()) + Message(15, sparse()); };
  const auto attributes = [&] {
    return Attribute("t", Message(5, tensor())) + Attribute("g", Message(6, tensors())) +
           Attribute("tensors", Message(10, tensor()) + Message(10, tensor())) +
           Attribute("graphs", Message(11, tensors()) + Message(11, tensors())) +
           Attribute("sparse", Message(22, sparse()) + Message(23, sparse()));
  };
  const auto node = [&] { return Message(4, "If") + attributes(); };
  std::string model = Number(1, 8);
  model += Message(7, Message(1, node()) + tensors());
  model += Message(20, Message(1, tensors()) + Message(2, Message(1, node())));
  model += Message(25, Message(1, "f") + Message(7, node()) +
                           Message(11, Message(1, "default") + Message(5, tensor())));
  model += Message(7, tensors());  // a second time: the two are one graph
  *count = next;
  return model;
}

void TestPlaces() {
  CHECK(Files("").empty());
  CHECK(Files(Graph(Message(5, Number(2, 1) + Message(9, std::string(400, 'x'))))).empty());
  CHECK(Files(Graph(Message(5, Tensor("a.data")) + Message(5, Tensor("a.data")))) ==
        Names{"a.data"});
  CHECK(Files(Graph(Message(5, Tensor("../../etc/passwd")))) == Names{"../../etc/passwd"});
  int count = 0;
  const Names found = Files(EveryPlace(&count));
  CHECK(count > 40 && found.size() == static_cast<size_t>(count));
}

// Every place gets its new name, of any length, and all the rest stays as it was.
void TestOtherPlaces() {
  int count = 0;
  const std::string model =
      EveryPlace(&count) + Varint(9 << 3 | 1) + "12345678" + Varint(9 << 3 | 5) + "1234";
  const auto rewritten = [&](const auto& name_of) {
    std::map<std::string, std::string> places;
    Names names;
    for (int i = 0; i < count; ++i) {
      names.insert(places[std::to_string(i)] = name_of(i));
    }
    const std::string text = g4v::WithExternalData(
        {reinterpret_cast<const uint8_t*>(model.data()), model.size()}, "x.onnx", places);
    CHECK(Files(text) == names);
    return text;
  };
  CHECK(rewritten([](int i) { return std::to_string(i); }) == model);
  const auto place = [](int i) { return std::string(static_cast<size_t>(i) * 7, '/') + "a"; };
  CHECK(rewritten(place).size() > model.size());
  // An engine's name is none of external data.
  const std::string engine = Engine(Attribute("ep_cache_context", Message(4, "a.engine")) +
                                    Attribute("embed_mode", Number(3, 0)));
  CHECK(g4v::WithExternalData({reinterpret_cast<const uint8_t*>(engine.data()), engine.size()}, "x",
                              {}) == engine);
}

// The last key and the last value count for the protobuf library; here any does.
void TestTwice() {
  const std::string entry = Message(2, "first") + Message(1, "x") + Message(1, "location") +
                            Message(1, "y") + Message(2, "last");
  CHECK(Files(Graph(Message(5, Message(13, entry)))) == (Names{"first", "last"}));
}

void TestEngines() {
  const std::string name = Attribute("ep_cache_context", Message(4, "a.engine"));
  const std::string apart = Attribute("embed_mode", Number(3, 0));
  const std::string within = Attribute("embed_mode", Number(3, 1));
  CHECK(Files(Engine(name + apart)) == Names{"a.engine"});
  CHECK(Files(Engine(apart + name)) == Names{"a.engine"});
  CHECK(Files(Engine(name + within)).empty());
  CHECK(Files(Engine(name)).empty());
  CHECK(Files(Engine(name + within + apart)) == Names{"a.engine"});
  CHECK(Files(Engine(name + Attribute("embed_mode", Number(3, 2)))) == Names{"a.engine"});
  CHECK(Files(Engine(within + Attribute("onnx_model_filename", Message(4, "b.onnx")))) ==
        Names{"b.onnx"});
  // The name of the operator may come last.
  CHECK(Files(Graph(Message(1, name + apart + Message(4, "EPContext")))) == Names{"a.engine"});
  CHECK(Files(Graph(Message(1, name + apart + Message(4, "Add")))).empty());
}

void TestDamage() {
  const char* const damaged = "cannot be loaded: it is no ONNX file, or a damaged one";
  CHECK_THROWS(Files("not a graph"), Code::Bundle, damaged);
  CHECK_THROWS(Files(Varint(7 << 3 | 2) + Varint(1)), Code::Bundle, damaged);
  CHECK_THROWS(Files(Varint(7 << 3 | 2) + Varint(UINT64_MAX)), Code::Bundle, damaged);
  CHECK_THROWS(Files(Varint(2)), Code::Bundle, damaged);           // the field 0
  CHECK_THROWS(Files(Varint(7 << 3 | 3)), Code::Bundle, damaged);  // a group
  CHECK_THROWS(Files(Varint(uint64_t{1} << 32 | 7 << 3)), Code::Bundle, damaged);
  CHECK_THROWS(Files(std::string(11, '\xFF')), Code::Bundle, damaged);
  CHECK(Files(Varint(9 << 3 | 1) + "12345678" + Varint(9 << 3 | 5) + "1234").empty());

  std::string nested;
  for (int i = 0; i < 60; ++i) nested = Message(1, Attribute("g", Message(6, nested)));
  CHECK_THROWS(Files(Graph(nested)), Code::Bundle,
               "the graph x.onnx cannot be loaded: it is nested too deeply");
}

// Whatever is cut off or changed: an answer or Error(Bundle), and no step outside the bytes.
void TestFuzz() {
  int count = 0;
  const std::string model = EveryPlace(&count) + Engine(Attribute("embed_mode", Number(3, 0)));
  size_t refused = 0;
  const auto attempt = [&](const std::string& bytes) {
    try {
      // Of exactly its size, so that AddressSanitizer sees a step outside.
      const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
      g4v::FilesOfGraph(exact, "x");
    } catch (const g4v::Error& error) {
      CHECK(error.code() == Code::Bundle);
      ++refused;
    }
  };
  for (size_t size = 0; size < model.size(); ++size) attempt(model.substr(0, size));
  CHECK(refused + 10 > model.size());  // only between the fields of the model is a cut unseen
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = model;
    for (uint32_t changes = 1 + random() % 4; changes > 0; --changes) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    attempt(bytes);
  }
}

}  // namespace

int main() {
  TestPlaces();
  TestOtherPlaces();
  TestTwice();
  TestEngines();
  TestDamage();
  TestFuzz();
  return g4v::test::Finish();
}
