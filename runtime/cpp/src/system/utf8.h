// UTF-8: checked, counted, and made fit for messages.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace fastbert {

// Returns the number of bytes at the start of `text` that are valid UTF-8 (RFC 3629): its size if
// all are.
std::size_t valid_utf8(std::string_view text) noexcept;

// Returns `text` with every invalid byte replaced by U+FFFD.
std::string to_valid_utf8(std::string_view text);

// Returns `text` as one paragraph: every line break, with the white space around it, becomes a
// space; none is left at the ends.
std::string as_paragraph(std::string_view text);

constexpr bool is_continuation(char byte) noexcept {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

bool is_ascii(std::string_view text) noexcept;

// Returns the number of code points of valid UTF-8.
std::size_t count_code_points(std::string_view text) noexcept;

}  // namespace fastbert
