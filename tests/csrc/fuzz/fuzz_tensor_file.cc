// Files in the safetensors format (bundle/tensor_file.h), byte by byte: the 8 bytes of the header's
// length among them. What is accepted covers the data exactly.
#include <algorithm>
#include <vector>

#include "bundle/tensor_file.h"
#include "fuzz.h"

using namespace g4v;
using fuzz::Require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const fuzz::MemoryFile memory(bytes);
  fuzz::Accepts({Code::Bundle}, [&] {
    const TensorFile file(MappedFile(memory.path(), MappedFile::How::Read), "file");
    std::vector<std::pair<const uint8_t*, const uint8_t*>> ranges;
    int64_t total = 0;
    for (const auto& [name, tensor] : file.tensors()) {
      int64_t count = tensor.dtype == "F32"                             ? 4
                      : tensor.dtype == "F16" || tensor.dtype == "BF16" ? 2
                                                                        : 1;
      Require(reinterpret_cast<uintptr_t>(tensor.data) % static_cast<uintptr_t>(count) == 0,
              "elements are aligned");
      for (const int64_t extent : tensor.shape) count *= extent;
      ranges.emplace_back(tensor.data, tensor.data + count);
      total += count;
    }
    std::sort(ranges.begin(), ranges.end());
    for (size_t i = 1; i < ranges.size(); ++i)
      Require(ranges[i].first == ranges[i - 1].second, "no gap, no overlap");
    uint64_t header = 0;
    std::memcpy(&header, data, 8);
    Require(header + 8 + static_cast<uint64_t>(total) == size, "the tensors are the data");
    if (ranges.empty()) return;
    uint8_t sum = 0;
    for (const uint8_t* byte = ranges.front().first; byte < ranges.back().second; ++byte)
      sum ^= *byte;
    static volatile uint8_t sink;
    sink = sum;
  });
  return 0;
}
