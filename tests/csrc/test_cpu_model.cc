// The CPU decoder (decoder/cpu) with random weights: steps of several threads, conversations in
// company, pages that are shared, and a budget. That it computes what PyTorch does is tested by
// tests/export/components/test_packed_decoder.py.
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "decoder/cpu/cpu_model.h"

namespace {

using namespace g4v;

constexpr int kWidth = 64, kMlp = 96, kLayers = 2, kHeads = 4, kKvHeads = 2, kHeadDim = 16;
constexpr int kVocabulary = 50;

DecoderSpec Spec() {
  DecoderSpec spec;
  spec.vocab_size = kVocabulary;
  spec.hidden_size = kWidth;
  spec.layers = kLayers;
  spec.heads = kHeads;
  spec.kv_heads = kKvHeads;
  spec.head_dim = kHeadDim;
  spec.context_length = 512;
  return spec;
}

// A file of packed weights: 4-bit codes, but for the head, which has 8 bits.
class Writer {
 public:
  explicit Writer(std::mt19937& random) : random_(random) {}

  void Floats(const std::string& name, int count, float least, float most) {
    std::uniform_real_distribution<float> value(least, most);
    std::vector<float> data(static_cast<size_t>(count));
    for (float& x : data) x = value(random_);
    Add(name, "F32", "[" + std::to_string(count) + "]", data.data(), data.size() * 4);
  }

  void Matrix(const std::string& name, int rows, int columns, bool four_bits = true) {
    const int panels = (rows + 15) / 16;
    const int blocks = columns / 32;
    const std::string shape = "[" + std::to_string(panels) + "," + std::to_string(blocks) + ",";
    std::vector<uint8_t> codes(static_cast<size_t>(panels * blocks * (four_bits ? 256 : 512)));
    for (uint8_t& code : codes) code = static_cast<uint8_t>(random_());
    Add(name + ".weights", four_bits ? "U8" : "I8", shape + (four_bits ? "4" : "8") + ",16,4]",
        codes.data(), codes.size());
    std::vector<float> scales(static_cast<size_t>(panels * blocks * 16),
                              four_bits ? 0.02f : 0.002f);
    Add(name + ".scales", "F32", shape + "16]", scales.data(), scales.size() * 4);
  }

  std::filesystem::path Write() const {
    std::string header =
        R"({"__metadata__":{"format":"g4v-packed-decoder","format_version":"1","norm_epsilon":"1e-05",)"
        R"("rotary_factor":"1.0","intermediate_size":")" +
        std::to_string(kMlp) + "\"}" + entries_ + "}";
    header.resize((header.size() + 8 + 63) / 64 * 64 - 8, ' ');
    const auto path = std::filesystem::temp_directory_path() /
                      ("g4v_test_cpu_model_" + std::to_string(std::random_device{}()) + ".packed");
    std::ofstream file(path, std::ios::binary);
    const uint64_t size = header.size();
    file.write(reinterpret_cast<const char*>(&size), 8);
    file << header << data_;
    return path;
  }

 private:
  void Add(const std::string& name, const std::string& dtype, const std::string& shape,
           const void* data, size_t bytes) {
    const size_t first = data_.size();
    data_.append(static_cast<const char*>(data), bytes);
    entries_ += ",\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
                ",\"data_offsets\":[" + std::to_string(first) + "," + std::to_string(data_.size()) +
                "]}";
  }

  std::mt19937& random_;
  std::string entries_;
  std::string data_;
};

std::filesystem::path WriteWeights(std::mt19937& random) {
  Writer writer(random);
  for (int i = 0; i < kLayers; ++i) {
    const std::string layer = "layers." + std::to_string(i) + ".";
    writer.Matrix(layer + "q", kHeads * kHeadDim, kWidth);
    writer.Matrix(layer + "k", kKvHeads * kHeadDim, kWidth);
    writer.Matrix(layer + "v", kKvHeads * kHeadDim, kWidth);
    writer.Matrix(layer + "o", kWidth, kHeads * kHeadDim);
    writer.Matrix(layer + "gate", kMlp, kWidth);
    writer.Matrix(layer + "up", kMlp, kWidth);
    writer.Matrix(layer + "down", kWidth, kMlp);
    writer.Floats(layer + "attention_norm", kWidth, 0.5f, 1.5f);
    writer.Floats(layer + "mlp_norm", kWidth, 0.5f, 1.5f);
  }
  writer.Matrix("head", kVocabulary, kWidth, false);
  writer.Floats("final_norm", kWidth, 0.5f, 1.5f);
  writer.Floats("rotary_frequencies", kHeadDim / 2, 0.001f, 1.0f);
  return writer.Write();
}

std::vector<float> RandomRows(int count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> rows(static_cast<size_t>(count * kWidth));
  for (float& x : rows) x = normal(random);
  return rows;
}

using Logits = std::vector<float>;

// The logits after `rows`, in steps of `chunk` rows.
Logits Read(CpuModel& model, CpuKvCache& cache, const std::vector<float>& rows, size_t chunk) {
  Logits logits(kVocabulary);
  const std::span<const float> all = rows;
  for (size_t done = 0; done < all.size(); done += chunk * kWidth) {
    const Forward::Sequence sequence{
        &cache, all.subspan(done, std::min(chunk * kWidth, all.size() - done)), logits, nullptr};
    model.Step({&sequence, 1});
  }
  return logits;
}

bool Same(const Logits& a, const Logits& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void TestThreads(const std::filesystem::path& path, std::mt19937& random) {
  const std::vector<float> rows = RandomRows(90, random);
  CpuModel alone(Spec(), TensorFile(MappedFile(path), "weights"), {});
  const Logits wanted = Read(alone, *alone.NewCache(), rows, 90);
  for (const int threads : {1, 2, 4}) {
    CpuModel model(Spec(), TensorFile(MappedFile(path), "weights"), {threads});
    std::vector<std::thread> talks;
    std::vector<Logits> found(4);
    for (size_t i = 0; i < found.size(); ++i) {
      talks.emplace_back(
          [&, i] { found[i] = Read(model, *model.NewCache(), rows, i == 0 ? 90 : 5 * i); });
    }
    for (std::thread& talk : talks) talk.join();
    for (const Logits& logits : found) CHECK(Same(logits, wanted));
  }
}

void TestCompany(const std::filesystem::path& path, std::mt19937& random) {
  CpuModel model(Spec(), TensorFile(MappedFile(path), "weights"), {2});
  constexpr size_t kTalks = 13;
  std::vector<std::vector<float>> rows;
  std::vector<Logits> wanted;
  std::vector<Logits> found(kTalks, Logits(kVocabulary));
  std::vector<std::unique_ptr<CpuKvCache>> caches;
  for (size_t i = 0; i < kTalks; ++i) {
    rows.push_back(RandomRows(static_cast<int>(1 + random() % 70), random));
    wanted.push_back(Read(model, *model.NewCache(), rows[i], 1000));
    caches.push_back(model.NewCache());
  }
  std::vector<Forward::Sequence> sequences;
  for (size_t i = 0; i < kTalks; ++i) {
    // The logits of some are not wanted.
    sequences.push_back({caches[i].get(), rows[i],
                         i % 3 == 2 ? std::span<float>() : std::span<float>(found[i]), nullptr});
  }
  model.Step(sequences);
  for (size_t i = 0; i < kTalks; ++i) {
    CHECK(caches[i]->length() == static_cast<int>(rows[i].size()) / kWidth);
    if (i % 3 != 2) CHECK(Same(found[i], wanted[i]));
  }
}

void TestPages(std::mt19937& random) {
  const auto pool = std::make_shared<KvPagePool>(Spec(), kernels::KvType::kFloat16, 0);
  const auto limited =
      std::make_shared<KvPagePool>(Spec(), kernels::KvType::kFloat32, 2 * pool->page_bytes() * 3);
  CHECK(limited->page_bytes() == 2 * pool->page_bytes());
  KvPages one(limited);
  one.Reserve(0, 64);  // two pages
  CHECK(limited->bytes_in_use() == 2 * limited->page_bytes());
  KvPages two = one;
  CHECK(limited->bytes_in_use() == 2 * limited->page_bytes());
  const char* const shared = two.data()[0];
  two.Reserve(40, 41);  // writes to the second page, which it then has for itself
  CHECK(two.data()[0] == shared && two.data()[1] != one.data()[1]);
  CHECK(limited->bytes_in_use() == 3 * limited->page_bytes());
  CHECK_THROWS(two.Reserve(41, 100), Code::ContextFull, "kv_memory is");
  CHECK(two.bytes() == 2 * limited->page_bytes());
  one.Truncate(0);
  two.Reserve(41, 96);
  CHECK(two.bytes() == 3 * limited->page_bytes());
  two.Truncate(33);
  CHECK(two.bytes() == 2 * limited->page_bytes());
  {
    std::vector<KvPages> many(200, KvPages(pool));
    for (KvPages& pages : many) pages.Reserve(0, static_cast<int64_t>(1 + random() % 100));
    CHECK(pool->bytes_in_use() >= 200 * pool->page_bytes());
  }
  CHECK(pool->bytes_in_use() == 0);
}

}  // namespace

int main() {
  const unsigned seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  const std::filesystem::path path = WriteWeights(random);
  TestThreads(path, random);
  TestCompany(path, random);
  TestPages(random);
  std::filesystem::remove(path);
  return g4v::test::Finish();
}
