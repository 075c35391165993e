// What the library `tokenizers` asks about a character, with its answers for every code point.
#pragma once

#include <cstddef>
#include <string_view>

#include "tokenizer/unicode/code_points.h"

namespace fastbert::text {

// What to ask utf8proc about instead of `code`: of a utf8proc with a later version of Unicode than
// the tables of differences were made for, an unassigned character for what that version added.
CodePoint known_code_point(CodePoint code) noexcept;

// White_Space of Unicode, which has not changed since version 6.3.
bool is_white_space(CodePoint code) noexcept;
// Control, format or private use (Cc, Cf, Co).
bool is_other(CodePoint code) noexcept;
// ASCII punctuation and symbols, or category P.
bool is_punctuation(CodePoint code) noexcept;
// Category Mn, as BertNormalizer has it.
bool is_nonspacing_mark(CodePoint code) noexcept;
// Category M, as StripAccents has it.
bool is_combining_mark(CodePoint code) noexcept;
// \p{L} and \p{N} of the pattern of ByteLevel.
bool is_letter(CodePoint code) noexcept;
bool is_number(CodePoint code) noexcept;
// Category N, as Digits has it.
bool is_digit(CodePoint code) noexcept;
// \w of a regular expression.
bool is_word(CodePoint code) noexcept;
// The ideographs around which BertNormalizer puts spaces.
bool is_ideograph(CodePoint code) noexcept;

// The lowercase of a character, except U+0130, whose lowercase is two characters.
CodePoint to_lower(CodePoint code) noexcept;
constexpr CodePoint kDottedCapitalI = 0x130;
constexpr std::string_view kDottedCapitalILower = "i\xCC\x87";

// Canonical combining class; 0 for a starter.
int combining_class(CodePoint code) noexcept;
// Whether utf8proc knows `code` as a mark, and `tokenizers` as a starter.
bool is_unknown_mark(CodePoint code) noexcept;

// How a character takes part in graphemes, where that is not what utf8proc says.
enum class GraphemeChange { kNone, kExtends, kPrepends, kNeither };
GraphemeChange grapheme_change(CodePoint code) noexcept;

// What a character is in a conjunct of consonants (Indic_Conjunct_Break).
enum class ConjunctKind { kNone, kConsonant, kLinker, kExtend };
ConjunctKind conjunct_kind(CodePoint code) noexcept;

// Writes the canonical or compatibility decomposition of `code`, which is `code` itself if it has
// none, and returns its length.
constexpr std::size_t kLongestDecomposition = 32;
std::size_t decompose(CodePoint code, bool compatibility,
                      CodePoint (&result)[kLongestDecomposition]) noexcept;

}  // namespace fastbert::text
