#include "tokenizer/unicode/utf8.h"

#include <cstring>

namespace fastbert::text {
namespace {

constexpr std::uint64_t kHighBits = 0x8080808080808080U;

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

std::size_t first_invalid_byte(std::string_view text) noexcept {
  const auto byte = [&](std::size_t at) -> unsigned {
    return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
  };
  for (std::size_t at = skip_ascii(text, 0); at < text.size(); at = skip_ascii(text, at)) {
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
    at += length;
  }
  return kValid;
}

bool is_ascii(std::string_view text) noexcept { return skip_ascii(text, 0) == text.size(); }

}  // namespace fastbert::text
