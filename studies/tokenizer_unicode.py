"""Writes unicode_differences.h of the C++ tokenizer: where the Unicode of `tokenizers` and of utf8proc differ.

`tokenizers` has a table of its own for each question it asks about a character, from Unicode 8 to 17; utf8proc has one
version. Every code point goes through both, and what differs becomes a list of ranges.

    python -m studies.tokenizer_unicode --output runtime/cpp/src/tokenizer/unicode/unicode_differences.h
"""

import argparse
import ctypes
import ctypes.util
from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from studies.tokenizer_cases import charsmap

_POINTS = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
_MARKS = (6, 7, 8)  # categories by utf8proc's numbers: Mn Mc Me
_LETTERS, _NUMBERS, _PUNCTUATION = (1, 2, 3, 4, 5), (9, 10, 11), (12, 13, 14, 15, 16, 17, 18)
_FORMAT = 27
_EXTEND, _SPACING_MARK, _PREPEND, _JOINER = 5, 12, 13, 14  # boundary classes by utf8proc's numbers
Tables = dict[str, tuple[str, list[int]]]  # name -> comment, code points


def main() -> None:
    """Compare all code points and write the header."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    library = ctypes.CDLL(ctypes.util.find_library("utf8proc"))
    library.utf8proc_version.restype = library.utf8proc_unicode_version.restype = ctypes.c_char_p
    category = {code: library.utf8proc_category(code) for code in _POINTS}
    arguments.output.write_text(_header(library, *_differences(library, category)))


def _differences(library: ctypes.CDLL, category: dict[int, int]) -> tuple[Tables, dict[int, int]]:
    """Return the tables of ranges, and the lowercase of letters that utf8proc does not know."""

    def of(*kinds: int) -> set[int]:
        return {code for code in _POINTS if category[code] in kinds}

    clean = normalizers.BertNormalizer(True, False, False, False)
    accents = normalizers.BertNormalizer(False, False, True, False)
    marks = {code for code in _POINTS if accents.normalize_str(chr(code)) == ""}
    combining = {code for code in _POINTS if normalizers.StripAccents().normalize_str(chr(code)) == ""}
    dropped = {code for code in _POINTS if clean.normalize_str(chr(code)) == ""}
    punctuation = {code for code in _POINTS if _parts(pre_tokenizers.Punctuation(), code) == 3}
    ascii_punctuation = {code for code in range(33, 127) if not chr(code).isalnum()}
    digits = {code for code in _POINTS if _parts(pre_tokenizers.Digits(True), code) == 3}
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = {code for code in _POINTS if _parts(byte_level, code) == 1}
    numbers = {code for code in _POINTS if _parts(byte_level, code, "1") == 1}
    compatible = _normalized(normalizers.NFKD())
    mark_class = {code for code in _POINTS if _moves(code)}
    known = {code for code in _POINTS if (_combining_class(library, code) != 0)} - _normalized(normalizers.NFD())
    lower = {code: normalizers.Lowercase().normalize_str(chr(code)) for code in _POINTS}
    changed = [code for code in _POINTS if lower[code] != chr(library.utf8proc_tolower(code)) and code != 0x130]
    tables = {
        "kAssigned": ("Code points that this utf8proc knows.", sorted(set(_POINTS) - of(0))),
        "kNotFormat": ("Format characters that BertNormalizer keeps.", sorted(of(_FORMAT) - dropped)),
        "kPunctuation": ("Punctuation.", sorted(punctuation - of(*_PUNCTUATION) - ascii_punctuation)),
        "kNotPunctuation": ("No punctuation.", sorted(of(*_PUNCTUATION) - punctuation)),
        "kNonspacing": ("Nonspacing marks that BertNormalizer strips.", sorted(marks - of(6))),
        "kNotNonspacing": ("Nonspacing marks that it keeps.", sorted(of(6) - marks)),
        "kCombining": ("Marks that StripAccents strips.", sorted(combining - of(*_MARKS))),
        "kNotCombining": ("Marks that it keeps.", sorted(of(*_MARKS) - combining)),
        "kLetter": ("Letters of the pattern of ByteLevel.", sorted(letters - of(*_LETTERS))),
        "kNumber": ("Numbers of the pattern of ByteLevel.", sorted(numbers - of(*_NUMBERS))),
        "kDigit": ("Numbers of Digits.", sorted(digits - of(*_NUMBERS))),
        "kWord": (
            "Word characters (\\w) beyond letters, marks, decimal digits, connectors and joiners.",
            sorted(_word() - of(*_LETTERS, *_MARKS, 9, 12) - {0x200C, 0x200D}),
        ),
        "kNoCombiningClass": ("Marks without a combining class.", sorted(known - mark_class)),
        "kNotDecomposed": (
            "Characters that have no compatibility decomposition.",
            sorted(_decomposed(library) - compatible),
        ),
        **_graphemes(library),
    }
    return tables, {code: ord(lower[code]) for code in changed}


def _graphemes(library: ctypes.CDLL) -> Tables:
    """Return how graphemes differ, by what `Precompiled` makes of short ones: a replaced start drops the rest."""
    normalize = normalizers.Precompiled(charsmap({"A": "b", "\u0958": "k"})).normalize_str
    kind = {code: _boundary_class(library, code) for code in _POINTS}
    extends = {code for code in _POINTS if normalize("A" + chr(code)) == "b"}
    known = {code for code in _POINTS if kind[code] in (_EXTEND, _SPACING_MARK, _JOINER)}
    prepends = {code for code in _POINTS if normalize(chr(code) + "A\u0301") == chr(code) + "b\u0301"}
    known_prepends = {code for code in _POINTS if kind[code] == _PREPEND}

    def joins(before: str) -> set[int]:
        """Return what joins a consonant after it to `before`."""
        return {
            code for code in _POINTS if normalize(before.replace("?", chr(code)) + "\u0958\u0301")[-2:] == "k\u0301"
        }

    consonants = joins("?\u094d")
    linkers = (joins("\u0915?") | {0x94D}) - prepends
    between = joins("\u0915\u094d?") - consonants
    extending = {code for code in _POINTS if kind[code] in (_EXTEND, _JOINER)}
    return {
        "kExtend": ("Characters that extend a grapheme.", sorted(extends - known)),
        "kPrepend": ("Characters that begin a grapheme with the next one.", sorted(prepends - known_prepends)),
        "kNotJoined": (
            "Characters that do neither.",
            sorted((known - extends) | (known_prepends - prepends)),
        ),
        "kConsonant": ("Consonants that a linker joins (GB9c), which utf8proc does not know.", sorted(consonants)),
        "kLinker": ("Linkers.", sorted(linkers)),
        "kConjunct": ("Characters between them that do not extend.", sorted(between - linkers - prepends - extending)),
        "kNotConjunct": ("Characters that extend, but not between them.", sorted(extending - between)),
    }


def _parts(pre_tokenizer: pre_tokenizers.PreTokenizer, code: int, around: str = "a") -> int:
    return len(pre_tokenizer.pre_tokenize_str(around + chr(code) + around))


def _normalized(normalizer: normalizers.Normalizer) -> set[int]:
    return {code for code in _POINTS if normalizer.normalize_str(chr(code)) != chr(code)}


def _moves(code: int) -> bool:
    """Return whether a character has a combining class: it moves before a mark of a higher or after one of a lower."""
    normalizer, character = normalizers.NFD(), chr(code)
    after, before = normalizer.normalize_str(f"a{character}\u0334"), normalizer.normalize_str(f"a\u0345{character}")
    return after != f"a{character}\u0334" or before != f"a\u0345{character}"


def _word() -> set[int]:
    tokenizer = Tokenizer(models.BPE({}, []))
    tokenizer.add_tokens([AddedToken("Q", single_word=True, normalized=False)])
    return {code for code in _POINTS if not tokenizer.encode("Q" + chr(code)).ids} | {ord("Q")}


def _boundary_class(library: ctypes.CDLL, code: int) -> int:
    # the second byte of the bit field that ends utf8proc_property_t
    library.utf8proc_get_property.restype = ctypes.POINTER(ctypes.c_uint16)
    return int(library.utf8proc_get_property(code)[10]) >> 8


def _combining_class(library: ctypes.CDLL, code: int) -> int:
    # the second 16-bit field of utf8proc_property_t
    library.utf8proc_get_property.restype = ctypes.POINTER(ctypes.c_uint16)
    return int(library.utf8proc_get_property(code)[1])


def _decomposed(library: ctypes.CDLL) -> set[int]:
    buffer = (ctypes.c_int32 * 32)()
    compatibility = (1 << 2) | (1 << 4)  # UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE
    found = set()
    for code in _POINTS:
        count = library.utf8proc_decompose_char(code, buffer, 32, compatibility, None)
        if count != 1 or buffer[0] != code:
            found.add(code)
    return found


def _ranges(codes: Iterable[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1] = (ranges[-1][0], code)
        else:
            ranges.append((code, code))
    return ranges


def _runs(lower: dict[int, int]) -> list[tuple[int, int]]:
    """Return ranges of letters whose lowercase is a range, too."""
    runs: list[tuple[int, int]] = []
    for code, mapped in lower.items():
        if runs and runs[-1][1] == code - 1 and lower[code - 1] == mapped - 1:
            runs[-1] = (runs[-1][0], code)
        else:
            runs.append((code, code))
    return runs


def _header(library: ctypes.CDLL, tables: Tables, lower: dict[int, int]) -> str:
    version = library.utf8proc_version().decode()
    lines = [
        f"// Where the Unicode tables of tokenizers {tokenizers.__version__} and utf8proc {version} differ. Written by",
        "// studies/tokenizer_unicode.py, which asks both about every code point.",
        "// clang-format off",
        "#pragma once",
        "",
        "#include <cstdint>",
        "",
        "namespace fastbert::text::differences {",
        "",
        "// The version of Unicode that utf8proc had.",
        f'constexpr char kUnicodeVersion[] = "{library.utf8proc_unicode_version().decode()}";',
        "",
        "// The code points from `first` to `last`.",
        "struct Range {",
        "  std::uint32_t first;",
        "  std::uint32_t last;",
        "};",
    ]
    for name, (comment, codes) in tables.items():
        items = [f"{{0x{first:X}, 0x{last:X}}}" for first, last in _ranges(codes)]
        lines += ["", f"// {comment}", f"constexpr Range {name}[] = {{", *_wrapped(items), "};"]
    items = [f"{{{{0x{first:X}, 0x{last:X}}}, 0x{lower[first]:X}}}" for first, last in _runs(lower)]
    lines += ["", "// Uppercase letters, and the lowercase of the first; that of the others follows."]
    lines += ["struct Lowercase {", "  Range letters;", "  std::uint32_t of_first;", "};"]
    lines += ["constexpr Lowercase kLowercase[] = {", *_wrapped(items), "};"]
    return "\n".join([*lines, "", "}  // namespace fastbert::text::differences", ""])


def _wrapped(items: list[str]) -> list[str]:
    lines = ["   "]
    for item in items:
        if len(lines[-1]) + len(item) + 2 > 100:
            lines.append("   ")
        lines[-1] += f" {item},"
    return lines


if __name__ == "__main__":
    main()
