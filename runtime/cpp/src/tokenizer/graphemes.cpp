#include "tokenizer/graphemes.h"

#include <utf8proc.h>

#include "tokenizer/utf8.h"

namespace fastbert::text {

std::size_t end_of_grapheme(std::string_view text, std::size_t start) noexcept {
  std::size_t at = start;
  utf8proc_int32_t state = 0;
  CodePoint before = next_code_point(text, at);
  while (at < text.size()) {
    std::size_t next = at;
    const CodePoint code = next_code_point(text, next);
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(before),
                                         static_cast<utf8proc_int32_t>(code), &state)) {
      break;
    }
    before = code;
    at = next;
  }
  return at;
}

}  // namespace fastbert::text
