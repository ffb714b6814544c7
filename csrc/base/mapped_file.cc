#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace g4v {
namespace {

[[noreturn]] void Fail(const std::filesystem::path& path, const std::string& reason) {
  throw Error(Code::Io, "cannot read " + path.string() + ": " + reason);
}

[[noreturn]] void Fail(const std::filesystem::path& path) {
  if (errno == ENOMEM) throw std::bad_alloc();
  Fail(path, std::strerror(errno));
}

class Descriptor {
 public:
  explicit Descriptor(const std::filesystem::path& path)
      : number_(
            open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {  // a pipe is not waited for
    if (number_ < 0) Fail(path);
    if (fstat(number_, &info_) != 0) {
      const int error = errno;
      close(number_);
      Fail(path, std::strerror(error));
    }
    if (S_ISREG(info_.st_mode)) return;
    close(number_);
    Fail(path, "not a regular file");
  }
  ~Descriptor() { close(number_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int number() const { return number_; }
  const struct stat& info() const { return info_; }

 private:
  int number_;
  struct stat info_;
};

// At least one byte, or 0 at the end of the file.
size_t ReadSome(int file, uint8_t* memory, size_t size, const std::filesystem::path& path) {
  constexpr size_t kMost = size_t{1} << 30;  // Linux reads less than 2 GiB at once
  for (;;) {
    const ssize_t count = read(file, memory, std::min(kMost, size));
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EINTR) Fail(path);
  }
}

void ReadInto(int file, uint8_t* memory, size_t size, const std::filesystem::path& path) {
  for (size_t done = 0; done < size;) {
    const size_t count = ReadSome(file, memory + done, size - done, path);
    if (count == 0) Fail(path, "it was cut while it was read");
    done += count;
  }
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path, How how) {
  const Descriptor file(path);
  const size_t size = static_cast<size_t>(file.info().st_size);
  if (size == 0) return;  // mmap refuses a length of zero
  const bool read = how == How::Read;
  void* const memory =
      read ? mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
           : mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number(), 0);
  if (memory == MAP_FAILED) Fail(path);
  MappedFile owner;  // unmaps where reading fails
  owner.data_ = static_cast<const uint8_t*>(memory);
  owner.size_ = size;
  if (read) {
    ReadInto(file.number(), static_cast<uint8_t*>(memory), size, path);
    mprotect(memory, size, PROT_READ);
  }
  *this = std::move(owner);
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

void ReadPieces(const std::filesystem::path& path,
                const std::function<void(std::span<const uint8_t>)>& take) {
  const Descriptor file(path);
  std::vector<uint8_t> piece(size_t{1} << 20);
  while (const size_t count = ReadSome(file.number(), piece.data(), piece.size(), path)) {
    take({piece.data(), count});
  }
}

struct FileStamp::State {
  explicit State(const std::filesystem::path& path) : file(path) {}
  Descriptor file;
};

FileStamp::FileStamp(const std::filesystem::path& path)
    : state_(std::make_shared<const State>(path)) {}

bool FileStamp::unchanged() const noexcept {
  struct stat now;
  const struct stat& then = state_->file.info();
  return fstat(state_->file.number(), &now) == 0 && now.st_size == then.st_size &&
         now.st_mtim.tv_sec == then.st_mtim.tv_sec && now.st_mtim.tv_nsec == then.st_mtim.tv_nsec;
}

}  // namespace g4v
