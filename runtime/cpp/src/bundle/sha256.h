// SHA-256 (FIPS 180-4).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace fastbert {

class Sha256 {
 public:
  void update(const void* data, std::size_t bytes) noexcept;
  // Returns the digest of all data: 64 hexadecimal digits, in lower case. Call it once, at the end.
  std::string hex_digest();

 private:
  void compress(const std::uint8_t* blocks, std::size_t count) noexcept;

  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::uint8_t, 64> block_ = {};  // what is not compressed yet
  std::size_t filled_ = 0;                   // bytes of block_
  std::uint64_t bytes_ = 0;
};

}  // namespace fastbert
