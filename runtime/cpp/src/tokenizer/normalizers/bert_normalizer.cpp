// BertNormalizer: removes control characters, separates ideographs, strips accents, lowercases.
#include <array>

#include "tokenizer/normalizers/normalizer.h"
#include "tokenizer/unicode/normal_form.h"
#include "tokenizer/unicode/unicode.h"

namespace fastbert::text {
namespace {

constexpr CodePoint kReplacementCharacter = 0xFFFD;
constexpr char kDropped = '\x7F';  // in the table of ASCII; no character becomes U+007F
constexpr std::size_t kAscii = 128;

struct Options {
  bool clean_text;
  bool handle_chinese_chars;
  bool strip_accents;
  bool lowercase;
};

class BertNormalizer : public Normalizer {
 public:
  explicit BertNormalizer(const Options& options) : options_(options) {
    for (std::size_t code = 0; code < kAscii; ++code) ascii_[code] = of_ascii(code);
  }

  void apply(std::string_view text, std::string& result) const override {
    result.reserve(result.size() + text.size() + text.size() / 2);
    Decomposer decomposer(false);
    const auto emit_lower = [&](CodePoint code) { put(code, result); };
    const auto emit = [&](CodePoint code) {
      if (!is_nonspacing_mark(code)) put(code, result);
    };
    for (std::size_t at = 0; at < text.size();) {
      const auto byte = static_cast<unsigned char>(text[at]);
      if (byte < kAscii) {
        ++at;
        if (options_.strip_accents) decomposer.flush(emit);
        if (keeps_ascii(byte)) result.push_back(ascii_[byte]);
        continue;
      }
      CodePoint code = next_code_point(text, at);
      if (options_.clean_text && !clean(code)) continue;
      const bool apart = options_.handle_chinese_chars && is_ideograph(code);
      if (options_.strip_accents) {
        if (apart) {
          decomposer.flush(emit);
          result.push_back(' ');
        }
        decomposer.push(code, emit);
        if (apart) {
          decomposer.flush(emit);
          result.push_back(' ');
        }
      } else {
        if (apart) result.push_back(' ');
        emit_lower(code);
        if (apart) result.push_back(' ');
      }
    }
    if (options_.strip_accents) decomposer.flush(emit);
  }

 private:
  // What becomes of an ASCII character; kDropped: nothing.
  char of_ascii(std::size_t code) const {
    const auto character = static_cast<char>(code);
    if (options_.clean_text) {
      if (character == '\t' || character == '\n' || character == '\r') return ' ';
      if (code < ' ' || character == '\x7F') return kDropped;
    }
    return options_.lowercase ? static_cast<char>(to_lower(static_cast<CodePoint>(code)))
                              : character;
  }

  bool keeps_ascii(unsigned char byte) const {
    return ascii_[byte] != kDropped || !options_.clean_text;
  }

  // Replaces white space by a space. Returns false for a character that is removed.
  static bool clean(CodePoint& code) {
    if (code == kReplacementCharacter || is_other(code)) return false;
    if (is_white_space(code)) code = ' ';
    return true;
  }

  void put(CodePoint code, std::string& result) const {
    if (!options_.lowercase) {
      append(result, code);
    } else if (code == kDottedCapitalI) {
      result.append(kDottedCapitalILower);
    } else {
      append(result, to_lower(code));
    }
  }

  Options options_;
  std::array<char, kAscii> ascii_{};
};

}  // namespace

std::unique_ptr<const Normalizer> make_bert_normalizer(const Json& definition) {
  Options options{};
  options.clean_text = definition.at("clean_text").boolean();
  options.handle_chinese_chars = definition.at("handle_chinese_chars").boolean();
  options.lowercase = definition.at("lowercase").boolean();
  options.strip_accents = definition.boolean_or("strip_accents", options.lowercase);
  return std::make_unique<BertNormalizer>(options);
}

}  // namespace fastbert::text
