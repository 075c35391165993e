// ByteLevel: splits words as GPT-2 does, and writes each byte as a visible character.
#include <array>
#include <cstdint>

#include "tokenizer/pattern.h"
#include "tokenizer/pre_tokenizers/pre_tokenizer.h"
#include "tokenizer/unicode/unicode.h"

namespace fastbert::text {
namespace {

enum class Kind : std::uint8_t { kLetter, kNumber, kSpace, kOther };

Kind kind_of(CodePoint code) noexcept {
  if (code < 0x80) {
    if ((code | 0x20U) - 'a' < 26) return Kind::kLetter;
    if (code - '0' < 10) return Kind::kNumber;
    return is_white_space(code) ? Kind::kSpace : Kind::kOther;
  }
  if (is_letter(code)) return Kind::kLetter;
  if (is_white_space(code)) return Kind::kSpace;
  return is_number(code) ? Kind::kNumber : Kind::kOther;
}

// End of the characters of one kind from `at` on.
std::size_t end_of_run(std::string_view text, std::size_t at, Kind kind) noexcept {
  while (at < text.size()) {
    std::size_t next = at;
    if (kind_of(next_code_point(text, next)) != kind) break;
    at = next;
  }
  return at;
}

// Length of 's, 't, 're, 've, 'm, 'll or 'd at the start of `text`; 0 if there is none.
std::size_t contraction(std::string_view text) noexcept {
  if (text.size() < 2 || text[0] != '\'') return 0;
  switch (text[1]) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return 2;
    case 'r':
    case 'v':
      return text.size() > 2 && text[2] == 'e' ? 3 : 0;
    case 'l':
      return text.size() > 2 && text[2] == 'l' ? 3 : 0;
    default:
      return 0;
  }
}

// End of the match of
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// at `start`. Every character matches.
std::size_t end_of_word(std::string_view text, std::size_t start) noexcept {
  const std::size_t short_form = contraction(text.substr(start));
  if (short_form != 0) return start + short_form;
  std::size_t at = start;
  Kind kind = kind_of(next_code_point(text, at));
  if (kind != Kind::kSpace) return end_of_run(text, at, kind);
  if (text[start] == ' ' && at < text.size()) {
    kind = kind_of(next_code_point(text, at));
    if (kind != Kind::kSpace) return end_of_run(text, at, kind);
  }
  const std::size_t end = end_of_run(text, start, Kind::kSpace);
  if (end == text.size()) return end;
  // The last one of several before a word is left to the word, or is a piece of its own.
  std::size_t last = end;
  previous_code_point(text, last);
  return last > start ? last : end;
}

class ByteLevelPattern : public Pattern {
 public:
  std::pair<std::size_t, std::size_t> find(std::string_view text,
                                           std::size_t start) const override {
    return {start, start < text.size() ? end_of_word(text, start) : start};
  }
};

// How a byte is written: printable ASCII and Latin-1 stand for themselves, others are U+0100 and
// what follows, in order.
struct Written {
  std::array<char, 2> bytes;
  std::uint8_t length;
};

std::array<Written, 256> written_bytes() {
  std::array<Written, 256> written{};
  CodePoint next = 0x100;
  for (CodePoint byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
    std::string encoded;
    append(encoded, printable ? byte : next++);
    written[byte] = {{encoded[0], encoded.size() > 1 ? encoded[1] : '\0'},
                     static_cast<std::uint8_t>(encoded.size())};
  }
  return written;
}

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex)
      : add_prefix_space_(add_prefix_space), use_regex_(use_regex) {}

  void split(Pieces& pieces, Pieces& spare) const override {
    spare.text.clear();
    spare.spans.clear();
    spare.text.reserve(pieces.text.size() * 2 + 2);
    std::string prefixed;
    for (const Span& span : pieces.spans) {
      std::string_view piece = pieces.piece(span);
      if (add_prefix_space_ && piece[0] != ' ') {
        prefixed.assign(1, ' ').append(piece);
        piece = prefixed;
      }
      for (std::size_t at = 0; at < piece.size();) {
        const std::size_t end = use_regex_ ? end_of_word(piece, at) : piece.size();
        const std::size_t begin = spare.text.size();
        for (; at < end; ++at) {
          const Written& written = written_[static_cast<unsigned char>(piece[at])];
          spare.text.append(written.bytes.data(), written.length);
        }
        spare.spans.push_back({begin, spare.text.size()});
      }
    }
    pieces.text.swap(spare.text);
    pieces.spans.swap(spare.spans);
  }

 private:
  bool add_prefix_space_;
  bool use_regex_;
  std::array<Written, 256> written_ = written_bytes();
};

}  // namespace

std::unique_ptr<const Pattern> make_byte_level_pattern() {
  return std::make_unique<ByteLevelPattern>();
}

std::unique_ptr<const PreTokenizer> make_byte_level(const Json& definition) {
  return std::make_unique<ByteLevel>(definition.at("add_prefix_space").boolean(),
                                     definition.boolean_or("use_regex", true));
}

}  // namespace fastbert::text
