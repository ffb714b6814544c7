// The bytes of a file in memory: mapped, or read into memory of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>

namespace g4v {

class MappedFile {
 public:
  enum class How {
    Map,  // nothing is read before it is used; whoever cuts the file off kills the process (SIGBUS)
    Read,  // what happens to the file later changes nothing
  };

  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path, How how = How::Map);  // throws Error(Io)
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  std::span<const uint8_t> bytes() const { return {data_, size_}; }

 private:
  const uint8_t* data_ = nullptr;  // nullptr for an empty file
  size_t size_ = 0;
};

// Reads a file from its beginning to its end in pieces, which are not kept. Throws Error(Io).
void ReadPieces(const std::filesystem::path& path,
                const std::function<void(std::span<const uint8_t>)>& take);

// Tells whether a file was written to, for what is mapped from it. Another file that takes its name
// is no change: what is mapped stays.
class FileStamp {
 public:
  explicit FileStamp(const std::filesystem::path& path);  // throws Error(Io)
  bool unchanged() const noexcept;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace g4v
