// A file of named tensors in the safetensors format, mapped into memory and checked.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"

namespace g4v {

class TensorFile {
 public:
  struct Tensor {
    std::string dtype;  // "F32", "F16", "BF16", "I8" or "U8"
    std::vector<int64_t> shape;
    const uint8_t* data = nullptr;
  };

  // Takes the mapped file; `name` is for errors. Throws Error(Bundle) where the header is no JSON,
  // an entry has an unknown type or a negative size, or the entries do not cover the data without
  // gaps and overlaps.
  TensorFile(MappedFile file, std::string name);

  const std::string& name() const { return name_; }
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }
  // Of "__metadata__".
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // "<name> <message>; export the bundle again", as Error(Bundle).
  [[noreturn]] void Fail(const std::string& message) const;

 private:
  void ReadTensors(std::string_view header, uint64_t data_start);

  MappedFile file_;
  std::string name_;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace g4v
