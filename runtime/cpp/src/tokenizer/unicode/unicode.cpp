#include "tokenizer/unicode/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "tokenizer/unicode/unicode_differences.h"

namespace fastbert::text {
namespace {

using differences::Range;

template <std::size_t kCount>
bool is_in(const Range (&ranges)[kCount], CodePoint code) noexcept {
  if (code < ranges[0].first) return false;
  const auto* found = std::partition_point(std::begin(ranges), std::end(ranges),
                                           [&](const Range& range) { return range.last < code; });
  return found != std::end(ranges) && found->first <= code;
}

// The tables of differences hold for one version of Unicode. Of a later one, what that version
// added is left out. (An earlier one is not enough: CMake asks for utf8proc 2.8.)
const bool kLaterVersion =
    std::strcmp(utf8proc_unicode_version(), differences::kUnicodeVersion) != 0;
constexpr CodePoint kUnassigned = 0x378;

utf8proc_int32_t known(CodePoint code) noexcept {
  return static_cast<utf8proc_int32_t>(known_code_point(code));
}

utf8proc_category_t category(CodePoint code) noexcept { return utf8proc_category(known(code)); }

bool is_between(utf8proc_category_t value, utf8proc_category_t first,
                utf8proc_category_t last) noexcept {
  return value >= first && value <= last;
}

constexpr bool is_between(CodePoint code, CodePoint first, CodePoint last) noexcept {
  return code >= first && code <= last;
}

// The class of a mark, before what `tokenizers` does not know is taken out.
int known_class(CodePoint code) noexcept {
  return utf8proc_get_property(known(code))->combining_class;
}

}  // namespace

CodePoint known_code_point(CodePoint code) noexcept {
  return kLaterVersion && !is_in(differences::kAssigned, code) ? kUnassigned : code;
}

bool is_white_space(CodePoint code) noexcept {
  if (code < 0x80) return code == ' ' || is_between(code, '\t', '\r');
  if (code < 0x1680) return code == 0x85 || code == 0xA0;
  return code == 0x1680 || is_between(code, 0x2000, 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_other(CodePoint code) noexcept {
  switch (category(code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CO:
      return true;
    case UTF8PROC_CATEGORY_CF:
      return !is_in(differences::kNotFormat, code);
    default:
      return false;
  }
}

bool is_punctuation(CodePoint code) noexcept {
  if (code < 0x80) {
    return is_between(code, '!', '/') || is_between(code, ':', '@') || is_between(code, '[', '`') ||
           is_between(code, '{', '~');
  }
  if (is_between(category(code), UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO)) {
    return !is_in(differences::kNotPunctuation, code);
  }
  return is_in(differences::kPunctuation, code);
}

bool is_nonspacing_mark(CodePoint code) noexcept {
  if (code < 0x300) return false;
  if (category(code) == UTF8PROC_CATEGORY_MN) return !is_in(differences::kNotNonspacing, code);
  return is_in(differences::kNonspacing, code);
}

bool is_combining_mark(CodePoint code) noexcept {
  if (code < 0x300) return false;
  if (is_between(category(code), UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME)) {
    return !is_in(differences::kNotCombining, code);
  }
  return is_in(differences::kCombining, code);
}

bool is_letter(CodePoint code) noexcept {
  return is_between(category(code), UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LO) ||
         is_in(differences::kLetter, code);
}

bool is_number(CodePoint code) noexcept {
  return is_between(category(code), UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO) ||
         is_in(differences::kNumber, code);
}

bool is_digit(CodePoint code) noexcept {
  return is_between(category(code), UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO) ||
         is_in(differences::kDigit, code);
}

bool is_word(CodePoint code) noexcept {
  const utf8proc_category_t kind = category(code);
  return is_between(kind, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_ND) ||
         kind == UTF8PROC_CATEGORY_PC || code == 0x200C || code == 0x200D ||
         is_in(differences::kWord, code);
}

bool is_ideograph(CodePoint code) noexcept {
  // From U+2B920, where Unicode's block begins at U+2B820: as in `tokenizers`.
  return is_between(code, 0x4E00, 0x9FFF) || is_between(code, 0x3400, 0x4DBF) ||
         is_between(code, 0x20000, 0x2A6DF) || is_between(code, 0x2A700, 0x2B81F) ||
         is_between(code, 0x2B920, 0x2CEAF) || is_between(code, 0xF900, 0xFAFF) ||
         is_between(code, 0x2F800, 0x2FA1F);
}

CodePoint to_lower(CodePoint code) noexcept {
  if (code < 0x80) return is_between(code, 'A', 'Z') ? code + ('a' - 'A') : code;
  const utf8proc_int32_t asked = known(code);
  const utf8proc_int32_t lower = utf8proc_tolower(asked);
  if (lower != asked) return static_cast<CodePoint>(lower);
  for (const differences::Lowercase& run : differences::kLowercase) {
    if (is_between(code, run.letters.first, run.letters.last)) {
      return run.of_first + (code - run.letters.first);
    }
  }
  return code;
}

bool is_unknown_mark(CodePoint code) noexcept {
  return is_in(differences::kNoCombiningClass, code);
}

int combining_class(CodePoint code) noexcept {
  if (code < 0x300) return 0;
  const int found = known_class(code);
  return found != 0 && is_unknown_mark(code) ? 0 : found;
}

GraphemeChange grapheme_change(CodePoint code) noexcept {
  if (is_in(differences::kExtend, code)) return GraphemeChange::kExtends;
  if (is_in(differences::kPrepend, code)) return GraphemeChange::kPrepends;
  if (is_in(differences::kNotJoined, code)) return GraphemeChange::kNeither;
  return GraphemeChange::kNone;
}

ConjunctKind conjunct_kind(CodePoint code) noexcept {
  if (code < 0x300) return ConjunctKind::kNone;
  if (is_in(differences::kConsonant, code)) return ConjunctKind::kConsonant;
  if (is_in(differences::kLinker, code)) return ConjunctKind::kLinker;
  const auto found = utf8proc_get_property(known(code))->boundclass;
  const bool extends = found == UTF8PROC_BOUNDCLASS_EXTEND || found == UTF8PROC_BOUNDCLASS_ZWJ;
  const bool changed =
      extends ? is_in(differences::kNotConjunct, code) : is_in(differences::kConjunct, code);
  return extends != changed ? ConjunctKind::kExtend : ConjunctKind::kNone;
}

std::size_t decompose(CodePoint code, bool compatibility,
                      CodePoint (&result)[kLongestDecomposition]) noexcept {
  utf8proc_int32_t buffer[kLongestDecomposition];
  int last_boundary = 0;
  auto options = static_cast<unsigned>(UTF8PROC_DECOMPOSE);
  if (compatibility) options |= static_cast<unsigned>(UTF8PROC_COMPAT);
  const utf8proc_ssize_t count =
      code < 0xA0 || known_code_point(code) != code || is_in(differences::kNotDecomposed, code)
          ? 0
          : utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code), buffer,
                                    static_cast<utf8proc_ssize_t>(kLongestDecomposition),
                                    static_cast<utf8proc_option_t>(options), &last_boundary);
  if (count <= 0 || count > static_cast<utf8proc_ssize_t>(kLongestDecomposition)) {
    result[0] = code;
    return 1;
  }
  for (utf8proc_ssize_t at = 0; at < count; ++at) result[at] = static_cast<CodePoint>(buffer[at]);
  return static_cast<std::size_t>(count);
}

}  // namespace fastbert::text
