// SHA-256 (FIPS 180-4). Uses the CPU's SHA instructions where it has them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace g4v {

class Sha256 {
 public:
  enum class Backend { Auto, Portable };  // Auto: SHA-NI where the CPU has it

  explicit Sha256(Backend backend = Backend::Auto);
  void Update(std::span<const uint8_t> bytes);
  std::array<uint8_t, 32> Finish();  // once

 private:
  using Compress = void (*)(uint32_t* state, const uint8_t* blocks, size_t count);
  Compress compress_;
  std::array<uint32_t, 8> state_;
  std::array<uint8_t, 64> pending_;
  size_t pending_size_ = 0;
  uint64_t total_ = 0;
};

std::string Hex(const std::array<uint8_t, 32>& digest);
std::string Sha256Hex(std::span<const uint8_t> bytes,
                      Sha256::Backend backend = Sha256::Backend::Auto);
bool HasShaInstructions();

}  // namespace g4v
