#include "tokenizer/unicode/normal_form.h"

#include <utf8proc.h>

#include <cstdint>

namespace fastbert::text {
namespace {

// Composes to U+11938 after U+11935, which `tokenizers` does not know.
constexpr CodePoint kUncomposed = 0x11930;

// Composes code points that are decomposed and in order.
class Composer {
 public:
  explicit Composer(std::string& result) : result_(result) {}

  void push(CodePoint code) {
    // To `tokenizers` these are starters that compose with nothing.
    const bool apart =
        code == kUncomposed || is_unknown_mark(code) || known_code_point(code) != code;
    if (apart) flush();
    codes_.push_back(static_cast<std::int32_t>(code));
    if (apart) flush();
  }

  void flush() {
    const utf8proc_ssize_t count = utf8proc_normalize_utf32(
        codes_.data(), static_cast<utf8proc_ssize_t>(codes_.size()),
        static_cast<utf8proc_option_t>(static_cast<unsigned>(UTF8PROC_STABLE) |
                                       static_cast<unsigned>(UTF8PROC_COMPOSE)));
    for (utf8proc_ssize_t at = 0; at < count; ++at) {
      append(result_, static_cast<CodePoint>(codes_[static_cast<std::size_t>(at)]));
    }
    codes_.clear();
  }

 private:
  std::string& result_;
  std::vector<std::int32_t> codes_;
};

}  // namespace

void normalize(std::string_view text, bool compatibility, bool compose, std::string& result) {
  if (is_ascii(text)) {
    result.append(text);
    return;
  }
  Decomposer decomposer(compatibility);
  Composer composer(result);
  const auto emit = [&](CodePoint code) {
    if (compose) {
      composer.push(code);
    } else {
      append(result, code);
    }
  };
  for (std::size_t at = 0; at < text.size();) decomposer.push(next_code_point(text, at), emit);
  decomposer.flush(emit);
  if (compose) composer.flush();
}

}  // namespace fastbert::text
