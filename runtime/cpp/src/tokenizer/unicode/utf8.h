// UTF-8: code points of a text that is known to be valid, and the check that it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace fastbert::text {

using CodePoint = std::uint32_t;

constexpr std::size_t kValid = static_cast<std::size_t>(-1);

// Returns the offset of the first byte that is not part of valid UTF-8 (an overlong form, a
// surrogate, a code point above U+10FFFF, a lone or missing continuation byte), or kValid.
std::size_t first_invalid_byte(std::string_view text) noexcept;

constexpr bool is_continuation(char byte) noexcept {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

// Length in bytes of the character that starts with `lead`.
constexpr std::size_t length_of(char lead) noexcept {
  const auto byte = static_cast<unsigned char>(lead);
  if (byte < 0x80) return 1;
  if (byte < 0xE0) return 2;
  return byte < 0xF0 ? 3 : 4;
}

// Reads the character at `at`, and moves `at` behind it. `text` must be valid, and `at` a
// character's start in it.
inline CodePoint next_code_point(std::string_view text, std::size_t& at) noexcept {
  const auto byte = [&](std::size_t offset) {
    return static_cast<CodePoint>(static_cast<unsigned char>(text[at + offset]));
  };
  const CodePoint lead = byte(0);
  CodePoint code = 0;
  if (lead < 0x80) {
    at += 1;
    return lead;
  }
  if (lead < 0xE0) {
    code = ((lead & 0x1F) << 6) | (byte(1) & 0x3F);
    at += 2;
  } else if (lead < 0xF0) {
    code = ((lead & 0x0F) << 12) | ((byte(1) & 0x3F) << 6) | (byte(2) & 0x3F);
    at += 3;
  } else {
    code = ((lead & 0x07) << 18) | ((byte(1) & 0x3F) << 12) | ((byte(2) & 0x3F) << 6) |
           (byte(3) & 0x3F);
    at += 4;
  }
  return code;
}

// Moves `at`, which must be greater than 0, to the start of the character before it, and returns
// that character.
inline CodePoint previous_code_point(std::string_view text, std::size_t& at) noexcept {
  do --at;
  while (is_continuation(text[at]));
  std::size_t start = at;
  return next_code_point(text, start);
}

inline void append(std::string& text, CodePoint code) {
  const auto put = [&](CodePoint byte) { text.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

// Number of characters.
inline std::size_t count_characters(std::string_view text) noexcept {
  std::size_t count = 0;
  for (const char byte : text) count += is_continuation(byte) ? 0 : 1;
  return count;
}

// Returns whether all characters from `begin` on are ASCII.
bool is_ascii(std::string_view text) noexcept;

}  // namespace fastbert::text
