#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/error.h"

namespace g4v {
namespace {

[[noreturn]] void Fail(const std::filesystem::path& path) {
  throw Error(Code::Io, "cannot read " + path.string() + ": " + std::strerror(errno));
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) Fail(path);
  struct stat info;
  if (fstat(file, &info) != 0) {
    close(file);
    Fail(path);
  }
  if (!S_ISREG(info.st_mode)) {
    close(file);
    throw Error(Code::Io, "cannot read " + path.string() + ": not a regular file");
  }
  size_ = static_cast<size_t>(info.st_size);
  if (size_ > 0) {  // mmap refuses a length of zero
    void* memory = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    if (memory == MAP_FAILED) {
      close(file);
      Fail(path);
    }
    data_ = static_cast<const uint8_t*>(memory);
  }
  close(file);
}

MappedFile::~MappedFile() {
  if (data_) munmap(const_cast<uint8_t*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace g4v
