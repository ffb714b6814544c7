// Caches in a session's own memory, as they are on a GPU, grow as those in the host's do. Here the
// device is the CPU, whose memory can be looked into.
#include <cstdlib>
#include <cstring>

#include "check.h"
#include "decoder/graph/graph_kv_cache.h"

using g4v::Code;
using g4v::GraphKvCache;
using g4v::MakeGrowingSession;
using g4v::ort::DType;
using g4v::ort::Environment;
using g4v::ort::SessionOptions;

namespace {

constexpr int kHeads = 2;
constexpr int kWidth = 16;

g4v::DecoderSpec Spec() {
  g4v::DecoderSpec spec;
  spec.layers = 2;
  spec.kv_heads = kHeads;
  spec.head_dim = kWidth;
  spec.context_length = 700;
  return spec;
}

char* At(const g4v::ort::TensorView& tensor, int head, int token) {
  const size_t row =
      static_cast<size_t>(head) * static_cast<size_t>(tensor.shape[2]) + static_cast<size_t>(token);
  return static_cast<char*>(tensor.data) + row * kWidth * g4v::ort::SizeOf(tensor.dtype);
}

// Writes, or looks for, bytes that tell buffer, head and token apart, and are a number in either
// type: the CPU moves float16 by way of float32, which leaves a NaN no NaN of the same bits.
void ForEachRow(const GraphKvCache& cache, int tokens, bool write) {
  int buffer = 0;
  for (const auto& past : cache.past()) {
    ++buffer;
    const size_t bytes = kWidth * g4v::ort::SizeOf(past.tensor.dtype);
    for (int head = 0; head < kHeads; ++head) {
      for (int token = 0; token < tokens; ++token) {
        const std::string row(bytes, static_cast<char>(1 + (buffer * 23 + head * 11 + token) % 97));
        char* const at = At(past.tensor, head, token);
        if (write) {
          std::memcpy(at, row.data(), bytes);
        } else {
          CHECK(std::memcmp(at, row.data(), bytes) == 0);
        }
      }
    }
  }
}

void TestGrowth(const std::shared_ptr<Environment>& environment, DType dtype, bool on_device) {
  SessionOptions options;
  options.threads = 1;
  const auto session = MakeGrowingSession(environment, dtype, options);
  GraphKvCache cache(Spec(), dtype, on_device ? session.get() : nullptr);
  int written = 0;
  for (const auto& [tokens, capacity] : {std::pair{3, 256}, {256, 256}, {257, 512}, {600, 700}}) {
    const uint64_t with = cache.BytesWith(tokens - cache.length());
    cache.Reserve(tokens - cache.length());
    CHECK(cache.bytes() == with && with > 0);
    CHECK(cache.capacity() == capacity);
    ForEachRow(cache, written, false);
    for (size_t i = 0; i < cache.past().size(); ++i) {
      const auto& past = cache.past()[i].tensor;
      CHECK((past.shape == std::vector<int64_t>{1, kHeads, capacity, kWidth}));
      CHECK(past.dtype == dtype && (past.value != nullptr) == on_device);
      CHECK(past.data == cache.present()[i].tensor.data);
      const std::string zeros(kWidth * g4v::ort::SizeOf(dtype), '\0');
      CHECK(std::memcmp(At(past, kHeads - 1, capacity - 1), zeros.data(), zeros.size()) == 0);
    }
    written = tokens;
    cache.Advance(tokens - cache.length());
    ForEachRow(cache, written, true);
  }
  cache.Truncate(5);
  cache.Truncate(9);  // has no more
  CHECK(cache.length() == 5);
  ForEachRow(cache, 5, false);
  const auto copy = cache.Copy();
  CHECK(copy->length() == 5 && copy->bytes() == cache.bytes());
  auto& copied = static_cast<GraphKvCache&>(*copy);
  ForEachRow(copied, 5, false);
  std::memset(At(cache.past()[0].tensor, 0, 0), 0, kWidth);
  ForEachRow(copied, 5, false);  // has memory of its own
  const auto none = GraphKvCache(Spec(), dtype, on_device ? session.get() : nullptr).Copy();
  CHECK(none->length() == 0 && none->bytes() == 0);
}

}  // namespace

int main() {
  const char* variable = std::getenv("G4V_ONNXRUNTIME");
  if (!variable) {
    std::cerr << "G4V_ONNXRUNTIME names no library\n";
    return g4v::test::kSkip;
  }
  const auto environment = Environment::Get({variable, {}});
  for (const bool on_device : {false, true}) {
    TestGrowth(environment, DType::F32, on_device);
    TestGrowth(environment, DType::F16, on_device);
  }
  SessionOptions options;
  const auto session = MakeGrowingSession(environment, DType::F32, options);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which end the process
  CHECK_THROWS(session->Allocate(DType::F32, {1 << 30, 1 << 30}), Code::Runtime,
               "bytes on the device \"cpu\" cannot be had");
#endif
  return g4v::test::Finish();
}
