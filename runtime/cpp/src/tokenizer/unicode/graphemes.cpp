#include "tokenizer/unicode/graphemes.h"

#include <utf8proc.h>

#include "tokenizer/unicode/unicode.h"

namespace fastbert::text {
namespace {

// What utf8proc is asked about instead of a character that it has in another class than
// `tokenizers`.
constexpr CodePoint kAnyExtend = 0x300;
constexpr CodePoint kAnyPrepend = 0x600;
constexpr CodePoint kAnyOther = 'a';

std::int32_t known_code(CodePoint code) noexcept {
  switch (grapheme_change(code)) {
    case GraphemeChange::kExtends:
      return static_cast<std::int32_t>(kAnyExtend);
    case GraphemeChange::kPrepends:
      return static_cast<std::int32_t>(kAnyPrepend);
    case GraphemeChange::kNeither:
      return static_cast<std::int32_t>(kAnyOther);
    case GraphemeChange::kNone:
      break;
  }
  return static_cast<std::int32_t>(known_code_point(code));
}

// Rule GB9c, which utf8proc does not have: no break between consonants with a linker between them.
class Conjunct {
 public:
  // Whether no break comes before `code`.
  bool joins(ConjunctKind code) const noexcept {
    return has_linker_ && code == ConjunctKind::kConsonant;
  }

  void add(ConjunctKind code) noexcept {
    switch (code) {
      case ConjunctKind::kConsonant:
        has_consonant_ = true;
        has_linker_ = false;
        break;
      case ConjunctKind::kLinker:
        has_linker_ = has_consonant_;
        break;
      case ConjunctKind::kExtend:
        break;
      case ConjunctKind::kNone:
        has_consonant_ = false;
        has_linker_ = false;
        break;
    }
  }

 private:
  bool has_consonant_ = false;
  bool has_linker_ = false;
};

}  // namespace

std::size_t end_of_grapheme(std::string_view text, std::size_t start) noexcept {
  std::size_t at = start;
  CodePoint code = next_code_point(text, at);
  if (at == text.size() || (code < 0x80 && static_cast<unsigned char>(text[at]) < 0x80)) {
    return code == '\r' && at < text.size() && text[at] == '\n' ? at + 1 : at;
  }
  utf8proc_int32_t state = 0;
  std::int32_t before = known_code(code);
  Conjunct conjunct;
  conjunct.add(conjunct_kind(code));
  while (at < text.size()) {
    std::size_t next = at;
    code = next_code_point(text, next);
    const std::int32_t known = known_code(code);
    const ConjunctKind kind = conjunct_kind(code);
    const bool breaks = utf8proc_grapheme_break_stateful(before, known, &state);
    if (breaks && !conjunct.joins(kind)) break;
    conjunct.add(kind);
    before = known;
    at = next;
  }
  return at;
}

}  // namespace fastbert::text
