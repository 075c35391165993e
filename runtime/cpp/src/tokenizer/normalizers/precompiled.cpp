// Precompiled: a table of replacements that SentencePiece wrote.
#include <array>
#include <cstdint>
#include <vector>

#include "tokenizer/normalizers/normalizer.h"
#include "tokenizer/unicode/code_points.h"
#include "tokenizer/unicode/graphemes.h"

namespace fastbert::text {
namespace {

constexpr std::size_t kAscii = 128;
constexpr std::size_t kLongestGrapheme =
    5;  // bytes; longer ones are replaced character by character

// A unit of SentencePiece's double-array trie (Darts-clone).
struct Unit {
  std::uint32_t bits;

  bool is_value() const { return (bits >> 31) != 0; }
  bool has_leaf() const { return ((bits >> 8) & 1U) != 0; }
  std::uint32_t value() const { return bits & 0x7FFFFFFFU; }
  std::uint32_t label() const { return bits & 0x800000FFU; }
  std::uint32_t offset() const { return (bits >> 10) << ((bits & 0x200U) >> 6); }
};

// Standard Base64 with padding.
std::string decode_base64(const Json& text) {
  const std::string& encoded = text.string();
  if (encoded.size() % 4 != 0) text.fail("is not Base64: its length is no multiple of 4.");
  std::string bytes;
  bytes.reserve(encoded.size() / 4 * 3);
  std::uint32_t bits = 0;
  unsigned padding = 0;
  for (std::size_t at = 0; at < encoded.size(); ++at) {
    const char letter = encoded[at];
    std::uint32_t value = 0;
    if (letter >= 'A' && letter <= 'Z')
      value = static_cast<std::uint32_t>(letter - 'A');
    else if (letter >= 'a' && letter <= 'z')
      value = static_cast<std::uint32_t>(letter - 'a' + 26);
    else if (letter >= '0' && letter <= '9')
      value = static_cast<std::uint32_t>(letter - '0' + 52);
    else if (letter == '+')
      value = 62;
    else if (letter == '/')
      value = 63;
    else if (letter == '=' && at + 2 >= encoded.size())
      ++padding;
    else
      text.fail("is not Base64 at character " + std::to_string(at) + ".");
    if (padding != 0 && letter != '=') text.fail("is not Base64: it goes on after its padding.");
    bits = (bits << 6) | value;
    if (at % 4 == 3) {
      bytes.push_back(static_cast<char>((bits >> 16) & 0xFFU));
      bytes.push_back(static_cast<char>((bits >> 8) & 0xFFU));
      bytes.push_back(static_cast<char>(bits & 0xFFU));
    }
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

std::uint32_t little_endian(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t index = 0; index < 4; ++index) {
    value |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at + index]))
             << (8 * index);
  }
  return value;
}

// Strings and their replacements.
class Replacements {
 public:
  explicit Replacements(const Json& definition) {
    const std::string bytes = decode_base64(definition);
    if (bytes.size() < 4) definition.fail("is too short.");
    const std::size_t size = little_endian(bytes, 0);
    if (size % 4 != 0 || size == 0 || size > bytes.size() - 4) {
      definition.fail("has a table of " + std::to_string(size) + " bytes, which it does not hold.");
    }
    for (std::size_t at = 4; at < 4 + size; at += 4) units_.push_back({little_endian(bytes, at)});
    texts_ = bytes.substr(4 + size);
    check(definition);
  }

  // Whether `key` or a beginning of it has a replacement; sets `replacement` to that of the
  // shortest such beginning, as `tokenizers` does.
  bool find(std::string_view key, std::string_view& replacement) const {
    std::size_t node = units_[0].offset();
    for (const char letter : key) {
      const auto byte = static_cast<unsigned char>(letter);
      if (byte == 0) return false;
      node ^= byte;
      if (node >= units_.size() || units_[node].label() != byte) return false;
      const Unit unit = units_[node];
      node ^= unit.offset();
      if (unit.has_leaf()) {
        const std::string_view rest = std::string_view(texts_).substr(units_[node].value());
        replacement = rest.substr(0, rest.find('\0'));
        return true;
      }
    }
    return false;
  }

 private:
  // Every replacement must lie in the texts, at a character's start.
  void check(const Json& definition) const {
    if (valid_utf8(texts_) < texts_.size()) definition.fail("has replacements that are not UTF-8.");
    for (std::size_t at = 0; at < units_.size(); ++at) {
      const Unit unit = units_[at];
      if (unit.is_value() || !unit.has_leaf()) continue;
      const std::size_t leaf = at ^ unit.offset();
      if (leaf >= units_.size() || units_[leaf].value() > texts_.size() ||
          (units_[leaf].value() < texts_.size() && is_continuation(texts_[units_[leaf].value()]))) {
        definition.fail("has a table that leads out of it, at unit " + std::to_string(at) + ".");
      }
    }
  }

  std::vector<Unit> units_;
  std::string texts_;  // each ends with a NUL
};

class Precompiled : public Normalizer {
 public:
  explicit Precompiled(const Json& definition) : replacements_(definition) {
    for (std::size_t code = 1; code < kAscii; ++code) {
      const char letter = static_cast<char>(code);
      std::string_view replacement;
      ascii_[code] = !replacements_.find({&letter, 1}, replacement);
    }
    ascii_[0] = true;
    ascii_['\r'] = false;  // with \n, it is one grapheme
  }

  void apply(std::string_view text, std::string& result) const override {
    result.reserve(result.size() + text.size());
    for (std::size_t at = 0; at < text.size();) {
      const auto byte = static_cast<unsigned char>(text[at]);
      const bool alone = at + 1 == text.size() || static_cast<unsigned char>(text[at + 1]) < kAscii;
      if (byte < kAscii && ascii_[byte] && alone) {
        result.push_back(text[at++]);
        continue;
      }
      const std::size_t end = end_of_grapheme(text, at);
      const std::string_view grapheme = text.substr(at, end - at);
      at = end;
      std::string_view replacement;
      if (grapheme.size() <= kLongestGrapheme && replacements_.find(grapheme, replacement)) {
        result.append(replacement);
        continue;
      }
      for (std::size_t index = 0; index < grapheme.size();) {
        const std::string_view character = grapheme.substr(index, length_of(grapheme[index]));
        result.append(replacements_.find(character, replacement) ? replacement : character);
        index += character.size();
      }
    }
  }

  bool keeps_start() const override { return true; }

 private:
  Replacements replacements_;
  std::array<bool, kAscii> ascii_{};  // whether a character stays when an ASCII character follows
};

}  // namespace

std::unique_ptr<const Normalizer> make_precompiled_normalizer(const Json& definition) {
  return std::make_unique<Precompiled>(definition.at("precompiled_charsmap"));
}

}  // namespace fastbert::text
