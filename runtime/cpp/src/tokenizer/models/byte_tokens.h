// Tokens that stand for single bytes, such as "<0x0A>", for characters that a vocabulary does not
// have.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tokenizer/models/trie.h"

namespace fastbert::text {

struct ByteTokens {
  std::array<std::int32_t, 256> ids{};  // Trie::kNoValue: there is none

  std::int32_t of(char byte) const noexcept { return ids[static_cast<unsigned char>(byte)]; }
  bool has_all(std::string_view bytes) const noexcept {
    return std::all_of(bytes.begin(), bytes.end(),
                       [&](char byte) { return of(byte) != Trie::kNoValue; });
  }
};

inline ByteTokens find_byte_tokens(const Trie& trie) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  ByteTokens tokens;
  for (std::size_t byte = 0; byte < tokens.ids.size(); ++byte) {
    const char name[] = {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 0xF], '>'};
    tokens.ids[byte] = trie.find({name, sizeof name});
  }
  return tokens;
}

}  // namespace fastbert::text
