#include "bundle/tensor_file.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/json.h"

namespace g4v {
namespace {

constexpr uint64_t kMostHeader = 100u << 20;  // bytes, as the safetensors library has it
constexpr std::string_view kMetadata = "__metadata__";

uint64_t ElementBytes(const JsonCursor& dtype) {
  const std::string& name = dtype.AsString();
  if (name == "F32") return 4;
  if (name == "F16" || name == "BF16") return 2;
  if (name == "I8" || name == "U8") return 1;
  dtype.Fail("is \"" + name + "\" but must be one of F32, F16, BF16, I8, U8");
}

uint64_t LittleEndian(const uint8_t* bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | bytes[i];
  return value;
}

}  // namespace

TensorFile::TensorFile(MappedFile file, std::string name)
    : file_(std::move(file)), name_(std::move(name)) {
  if (file_.size() < 8) Fail("is too short to be a file of tensors");
  const uint64_t header = LittleEndian(file_.data());
  if (header > kMostHeader || header > file_.size() - 8) Fail("has a damaged header");
  ReadTensors({reinterpret_cast<const char*>(file_.data()) + 8, static_cast<size_t>(header)},
              8 + header);
}

void TensorFile::Fail(const std::string& message) const {
  throw Error(Code::Bundle, name_ + " " + message + "; export the bundle again");
}

void TensorFile::ReadTensors(std::string_view header, uint64_t data_start) {
  const Json json = ParseJson(header, name_);
  const uint64_t size = file_.size() - data_start;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const auto& [key, cursor] : JsonCursor(json, name_).Members()) {
    if (key == kMetadata) {
      for (const auto& [entry, value] : cursor.Members()) metadata_[entry] = value.AsString();
      continue;
    }
    cursor.ExpectKeys({"dtype", "shape", "data_offsets"});
    Tensor tensor;
    const uint64_t element = ElementBytes(cursor.Get("dtype"));
    uint64_t bytes = element;
    tensor.dtype = cursor.Get("dtype").AsString();
    const auto most = static_cast<int64_t>(size);
    for (const JsonCursor& extent : cursor.Get("shape").Elements()) {
      tensor.shape.push_back(extent.AsInt(0, most));
      const auto factor = static_cast<uint64_t>(tensor.shape.back());
      if (factor != 0 && bytes > size / factor) extent.Fail("is larger than the file");
      bytes *= factor;
    }
    const auto offsets = cursor.Get("data_offsets").Elements();
    if (offsets.size() != 2) cursor.Get("data_offsets").Fail("must have 2 numbers");
    const auto first = static_cast<uint64_t>(offsets[0].AsInt(0, most));
    const auto last = static_cast<uint64_t>(offsets[1].AsInt(static_cast<int64_t>(first), most));
    if (last - first != bytes) cursor.Fail("has a shape that does not fit its data_offsets");
    if ((data_start + first) % element != 0) {
      cursor.Fail("does not begin at a multiple of its element's size");
    }
    ranges.emplace_back(first, last);
    tensor.data = file_.data() + data_start + first;
    tensors_.emplace(key, std::move(tensor));
  }
  std::sort(ranges.begin(), ranges.end());
  uint64_t end = 0;
  for (const auto& [first, last] : ranges) {
    if (first != end) Fail("has tensors with gaps or overlaps");
    end = last;
  }
  if (end != size) Fail("has data that belong to no tensor");
}

}  // namespace g4v
