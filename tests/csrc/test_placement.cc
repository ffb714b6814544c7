// Which variant is placed where (bundle/placement.h). Needs no ONNX Runtime.
#include "bundle/placement.h"
#include "check.h"

namespace g4v {
namespace {

Variant Made(const std::string& target, const std::string& graph, const std::string& packed = "") {
  Variant variant;
  variant.target = target;
  variant.graph = graph;
  variant.packed = packed;
  return variant;
}

ort::Targets Usable(std::vector<ort::Target> targets) {
  return {targets.front().device, std::move(targets), {}};
}

const ort::Targets kCpu = Usable({{"cpu", "cpu"}});
const ort::Targets kCuda = Usable({{"cuda", "cuda"}, {"cpu", "cuda"}});
const ort::Targets kAuto = Usable({{"cuda", "cuda"}, {"cpu", "cuda"}, {"cpu", "cpu"}});

void TestGraph() {
  const std::vector<Variant> variants = {Made("cpu", "a.onnx", "a.packed")};
  CHECK(Place(variants, kCpu, "decoder").device == "cpu");
  CHECK(Place(variants, kCuda, "decoder").device == "cuda");
  CHECK(Place(variants, kAuto, "decoder").device == "cuda");  // the GPU, where it can
}

void TestWithoutGraph() {
  const std::vector<Variant> variants = {Made("cpu", "", "a.packed")};
  CHECK(Place(variants, kCpu, "decoder").device == "cpu");
  CHECK(Place(variants, kAuto, "decoder").device == "cpu");
  CHECK_THROWS(Place(variants, kCuda, "decoder"), Code::Bundle, "--no-decoder-graph");
}

// A variant for the GPU beside packed weights is taken before them.
void TestBoth() {
  const std::vector<Variant> variants = {Made("cpu", "", "a.packed"), Made("cuda", "b.onnx")};
  CHECK(Place(variants, kCuda, "decoder").variant.target == "cuda");
  CHECK(Place(variants, kAuto, "decoder").variant.target == "cuda");
  CHECK(Place(variants, kCpu, "decoder").variant.target == "cpu");
}

}  // namespace
}  // namespace g4v

int main() {
  g4v::TestGraph();
  g4v::TestWithoutGraph();
  g4v::TestBoth();
  return g4v::test::Finish();
}
