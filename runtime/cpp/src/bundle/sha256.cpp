#include "bundle/sha256.h"

#include <algorithm>
#include <cstring>

namespace fastbert {
namespace {

constexpr std::uint32_t kConstants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::uint32_t rotate_right(std::uint32_t value, unsigned bits) {
  return (value >> bits) | (value << (32 - bits));
}

std::uint32_t read_big_endian(const std::uint8_t* bytes) {
  return (std::uint32_t{bytes[0]} << 24) | (std::uint32_t{bytes[1]} << 16) |
         (std::uint32_t{bytes[2]} << 8) | bytes[3];
}

// One round. The eight sums change their places from round to round; here the caller names them in
// turn instead, so that none is copied.
inline void round(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t& d,
                  std::uint32_t e, std::uint32_t f, std::uint32_t g, std::uint32_t& h,
                  std::uint32_t constant_and_word) {
  h += (rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25)) + (g ^ (e & (f ^ g))) +
       constant_and_word;
  d += h;
  h += (rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22)) + ((a & b) | (c & (a | b)));
}

void compress_block(std::uint32_t* state, const std::uint8_t* block) {
  std::uint32_t words[64];
  for (unsigned t = 0; t < 16; ++t) words[t] = read_big_endian(block + 4 * t);
  for (unsigned t = 16; t < 64; ++t) {
    const std::uint32_t x = words[t - 15];
    const std::uint32_t y = words[t - 2];
    const std::uint32_t s0 = rotate_right(x, 7) ^ rotate_right(x, 18) ^ (x >> 3);
    const std::uint32_t s1 = rotate_right(y, 17) ^ rotate_right(y, 19) ^ (y >> 10);
    words[t] = words[t - 16] + s0 + words[t - 7] + s1;
  }
  std::uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  std::uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
  for (unsigned t = 0; t < 64; t += 8) {
    round(a, b, c, d, e, f, g, h, kConstants[t] + words[t]);
    round(h, a, b, c, d, e, f, g, kConstants[t + 1] + words[t + 1]);
    round(g, h, a, b, c, d, e, f, kConstants[t + 2] + words[t + 2]);
    round(f, g, h, a, b, c, d, e, kConstants[t + 3] + words[t + 3]);
    round(e, f, g, h, a, b, c, d, kConstants[t + 4] + words[t + 4]);
    round(d, e, f, g, h, a, b, c, kConstants[t + 5] + words[t + 5]);
    round(c, d, e, f, g, h, a, b, kConstants[t + 6] + words[t + 6]);
    round(b, c, d, e, f, g, h, a, kConstants[t + 7] + words[t + 7]);
  }
  const std::uint32_t sums[8] = {a, b, c, d, e, f, g, h};
  for (unsigned i = 0; i < 8; ++i) state[i] += sums[i];
}

}  // namespace

void Sha256::compress(const std::uint8_t* blocks, std::size_t count) noexcept {
  for (std::size_t block = 0; block < count; ++block)
    compress_block(state_.data(), blocks + 64 * block);
}

void Sha256::update(const void* data, std::size_t bytes) noexcept {
  const auto* next = static_cast<const std::uint8_t*>(data);
  bytes_ += bytes;
  if (filled_ > 0) {
    const std::size_t taken = std::min(bytes, block_.size() - filled_);
    std::memcpy(block_.data() + filled_, next, taken);
    filled_ += taken;
    next += taken;
    bytes -= taken;
    if (filled_ < block_.size()) return;
    compress(block_.data(), 1);
    filled_ = 0;
  }
  compress(next, bytes / 64);
  const std::size_t rest = bytes % 64;
  if (rest > 0) std::memcpy(block_.data(), next + (bytes - rest), rest);
  filled_ = rest;
}

std::string Sha256::hex_digest() {
  const std::uint64_t bits = bytes_ * 8;
  static constexpr std::uint8_t kPadding[64] = {0x80};
  update(kPadding, filled_ < 56 ? 56 - filled_ : 120 - filled_);
  std::uint8_t length[8];
  for (unsigned i = 0; i < 8; ++i) length[i] = static_cast<std::uint8_t>(bits >> (56 - 8 * i));
  update(length, sizeof length);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string digest;
  for (const std::uint32_t word : state_) {
    for (unsigned shift = 32; shift > 0; shift -= 4) digest += kHex[(word >> (shift - 4)) & 15];
  }
  return digest;
}

}  // namespace fastbert
