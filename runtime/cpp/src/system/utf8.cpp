#include "system/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace fastbert {
namespace {

constexpr std::uint64_t kHighBits = 0x8080808080808080U;

// Returns the offset of the first byte from `at` on that is not ASCII.
std::size_t skip_ascii(std::string_view text, std::size_t at) noexcept {
  while (at + sizeof(std::uint64_t) <= text.size()) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + at, sizeof word);
    if ((word & kHighBits) != 0) break;
    at += sizeof word;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at;
}

}  // namespace

std::size_t valid_utf8(std::string_view text) noexcept {
  const auto byte = [&](std::size_t at) -> unsigned {
    return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
  };
  std::size_t at = skip_ascii(text, 0);
  while (at < text.size()) {
    // The range of the second byte rules out overlong forms, surrogates and code points above
    // U+10FFFF.
    const unsigned lead = byte(at);
    unsigned low = 0x80;
    unsigned high = 0xBF;
    std::size_t length = 2;
    if (lead < 0xC2 || lead > 0xF4) return at;
    if (lead >= 0xE0) length = lead < 0xF0 ? 3 : 4;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
    if (byte(at + 1) < low || byte(at + 1) > high) return at;
    for (std::size_t index = 2; index < length; ++index) {
      if ((byte(at + index) & 0xC0) != 0x80) return at;
    }
    at = skip_ascii(text, at + length);
  }
  return at;
}

bool is_ascii(std::string_view text) noexcept { return skip_ascii(text, 0) == text.size(); }

std::string to_valid_utf8(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t valid = valid_utf8(text);
    result.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (!text.empty()) {
      result += "\xEF\xBF\xBD";
      text.remove_prefix(1);
    }
  }
  return result;
}

std::string as_paragraph(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  std::string result;
  while (!text.empty()) {
    const std::size_t end = text.find_first_of("\r\n");
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    line.remove_prefix(std::min(line.find_first_not_of(kSpace), line.size()));
    line = line.substr(0, line.find_last_not_of(kSpace) + 1);
    if (!line.empty()) result.append(result.empty() ? "" : " ").append(line);
  }
  return result;
}

std::size_t count_code_points(std::string_view text) noexcept {
  const auto continuations = std::count_if(text.begin(), text.end(), is_continuation);
  return text.size() - static_cast<std::size_t>(continuations);
}

}  // namespace fastbert
