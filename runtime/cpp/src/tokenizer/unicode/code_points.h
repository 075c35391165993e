// The code points of a text that is known to be valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "system/utf8.h"

namespace fastbert::text {

using CodePoint = std::uint32_t;

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

}  // namespace fastbert::text
