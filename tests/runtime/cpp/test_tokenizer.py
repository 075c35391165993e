"""The C library's tokenizer against `tokenizers`. `python -m studies.tokenizer_parity` compares far more."""

# ruff: noqa: F401, F811 (fixtures are imported)

import itertools
import random

import pytest
from support.cpp_tokenizer import DATA, LETTERS, SEEDS, compare, driver, letters_tokenizer, program
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from fastbert.runtime.tokenization import TextEncoder
from studies.tokenizer_cases import (
    byte_level,
    charsmap,
    fuzzed_texts,
    read_rows,
    unigram,
    wordpiece,
    words_bpe,
    xlm_roberta_split,
)
from studies.tokenizer_driver import Driver


@pytest.mark.parametrize("name", sorted(path.stem for path in SEEDS.glob("*.json")))
def test_hard_texts_have_the_same_ids(name, program):
    tokenizer = Tokenizer.from_file(str(SEEDS / f"{name}.json"))
    texts = fuzzed_texts(120, seed=1)
    chosen = random.Random(2)
    with Driver(program, SEEDS / f"{name}.json") as driver:
        for text in texts:
            length, side = chosen.choice([None, 6, 7, 11, 24]), chosen.choice(["left", "right"])
            compare(driver, tokenizer, text, length, side)
            compare(driver, tokenizer, (text, chosen.choice(texts)))
            # Short ones: `tokenizers` combines all that it cuts off.
            compare(driver, tokenizer, (text[:9], chosen.choice(texts)[:9]), length, side)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the data sets beside the checkout")
@pytest.mark.parametrize("vocabulary", ["bert-base-uncased", "bert-base-chinese", "ernie-1.0.1"])
def test_rows_of_real_sets_have_the_same_ids(vocabulary, driver):
    words = (DATA / "vocab" / f"{vocabulary}.vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    check_rows(wordpiece(words), driver)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the data sets beside the checkout")
@pytest.mark.parametrize(
    "make",
    [
        lambda texts: byte_level(texts, add_prefix_space=True),
        lambda texts: unigram(texts, normalizers.NFKC(), xlm_roberta_split()),
    ],
    ids=["byte-level", "unigram"],
)
def test_rows_of_real_sets_have_the_same_ids_with_trained_tokenizers(make, driver):
    check_rows(make([text for row in sampled_rows(400) for text in row]), driver)


def sampled_rows(count):
    return random.Random(3).sample(read_rows(DATA), count)


def check_rows(tokenizer, driver):
    started = driver(tokenizer)
    tokenizer = Tokenizer.from_str(tokenizer.to_str())  # scores change when they are read
    for row in sampled_rows(250):
        compare(started, tokenizer, row if len(row) == 2 else row[0])
        compare(started, tokenizer, row if len(row) == 2 else row[0], 16)


# Code points, without the insides of the large blocks of ideographs and syllables.
BLOCKS = [
    (0, 0x3410), (0x4DB0, 0x4E20), (0x9FF0, 0xAC20), (0xD790, 0xD800), (0xE000, 0xE010), (0xF8F0, 0x17010),
    (0x187F0, 0x18D10), (0x1AFF0, 0x20010), (0x2A6D0, 0x2A710), (0x2B730, 0x2B930), (0x2CEA0, 0x2CEC0),
    (0x2EBE0, 0x2EE70), (0x2F7F0, 0x2FA30), (0xE0000, 0xE0200), (0x10FFF0, 0x110000),
]  # fmt: skip


def all_characters():
    codes = [code for first, end in BLOCKS for code in range(first, end)]
    return [codes[at : at + 4096] for at in range(0, len(codes), 4096)]


@pytest.mark.parametrize(
    "normalizer",
    [
        normalizers.BertNormalizer(strip_accents=False, lowercase=False),
        normalizers.BertNormalizer(),
        normalizers.NFC(),
        normalizers.NFKD(),
        normalizers.StripAccents(),
        normalizers.Lowercase(),
        normalizers.Nmt(),
        normalizers.Precompiled(charsmap({"a": "x", "\u0958": "k", "e\u0301": "é", "\t": " ", "\x01": ""})),
    ],
    ids=lambda normalizer: type(normalizer).__name__,
)
def test_every_character_is_normalized_alike(normalizer, driver):
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    started = driver(tokenizer, "pieces")
    for codes in all_characters():
        # Each one stands between letters, and before a mark.
        text = "".join(f"a{chr(code)}e\u0301\u0323\u0958\u0301" for code in codes)
        assert "".join(started.pieces(text)) == normalizer.normalize_str(text), hex(codes[0])


@pytest.mark.parametrize(
    "pre_tokenizer",
    [
        pre_tokenizers.BertPreTokenizer(),
        pre_tokenizers.Whitespace(),
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(),
        pre_tokenizers.Metaspace(),
    ],
    ids=lambda pre_tokenizer: type(pre_tokenizer).__name__,
)
def test_every_character_is_split_alike(pre_tokenizer, driver):
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizer
    started = driver(tokenizer, "pieces")
    for codes in all_characters():
        text = "".join(f"a{chr(code)}1{chr(code)}!" for code in codes)
        assert started.pieces(text) == [piece for piece, _ in pre_tokenizer.pre_tokenize_str(text)], hex(codes[0])


@pytest.mark.parametrize("behavior", ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"])
@pytest.mark.parametrize("invert", [False, True])
def test_a_split_does_with_matches_what_it_says(behavior, invert, driver):
    for pattern in (Regex("[ab]"), Regex("a{2,3}|b+|\\s\\S"), "a", Regex("[^a-c]x?"), Regex(".\\.")):
        tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern, behavior, invert)
        started = driver(tokenizer, "pieces")
        chosen = random.Random(4)
        for _ in range(60):
            text = "".join(chosen.choice("aabbc x.\n\u00e9") for _ in range(chosen.randrange(1, 12)))
            pieces = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
            assert started.pieces(text) == pieces, (pattern, text)


@pytest.mark.parametrize("side", ["right", "left"])
def test_pairs_are_truncated_longest_first(side, driver):
    tokenizer = letters_tokenizer()
    started = driver(tokenizer)
    for first, second, room in itertools.product(range(9), range(9), range(2, 12)):
        pair = (" ".join(LETTERS[:first]), " ".join(LETTERS[-second:] if second else ""))
        compare(started, tokenizer, pair, 3 + room, side)


def python_encoder(tokenizer, max_length, side):
    """Return the runtime's own encoder, which `tokenizers` would be too slow for: it keeps all that it cuts off."""
    return TextEncoder(
        tokenizer, max_length=max_length, pad_token_id=0, vocab_size=9999, token_types=9, truncation_side=side
    )


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", ["wordpiece", "byte_level", "unigram"])
def test_long_texts_are_read_only_in_part_and_have_the_same_ids(name, side, program):
    tokenizer = Tokenizer.from_file(str(SEEDS / f"{name}.json"))
    long = " ".join(fuzzed_texts(700, seed=5))
    texts = [
        long,
        (long, "good film"),
        ("good", long),
        (long, long[40:]),
        (long[41:], long),
        (long[:9000], long[:9000]),
    ]
    with Driver(program, SEEDS / f"{name}.json") as driver:
        for length in (16, 65):
            encoder = python_encoder(tokenizer, length, side)
            for text, wanted in zip(texts, encoder.tokenize(texts), strict=True):
                assert tuple(driver.encode(text, length, side)[:3]) == wanted


def test_of_a_text_without_tokens_as_much_is_read_as_in_python(driver):
    tokenizer = letters_tokenizer()
    started = driver(tokenizer)
    encoder = python_encoder(tokenizer, 8, "right")
    for text in ("a" + " " * 500_000 + "b", "", " "):
        assert tuple(started.encode(text, 8)[:3]) == encoder.tokenize([text])[0]
    assert started.encode("b " + "x" * 501_000, 8, "left")[:3] == ([2, 1, 3], [0, 0, 0], True)


def test_a_nul_is_a_character(driver):
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "\0": 2, "\0b": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_tokens(["x\0y"])
    started = driver(tokenizer)
    for text in ("\0", "a\0", "\0b a \0", "ax\0ya"):
        compare(started, tokenizer, text)
    assert started.encode("\0b a").ids == [3, 1]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (b"good \xff", 5), (b"\x80", 0), (b"ab\xc3", 2), (b"\xc0\x80", 0), (b"\xe0\x9f\xbf", 0), (b"a\xed\xa0\x80", 1),
        (b"\xf0\x8f\xbf\xbf", 0), (b"\xf4\x90\x80\x80", 0), (b"12345678\xf8\x88\x80\x80\x80", 8), (b"\xe2\x82", 0),
        (b"\xf0\x9f\x98", 0), (b"a" * 700_000 + b"\xff", 700_000), (b"\xc3\x28", 0), (b"\xfe", 0),
    ],
)  # fmt: skip
def test_a_text_that_is_not_utf8_is_refused(text, at, driver):
    started = driver(letters_tokenizer())
    message = f"not valid UTF-8 at byte {at} of {len(text)}"
    assert f"1: The text is {message}" in started.encode(text, 16).error
    assert f"1: The first text is {message}" in started.encode((text, "a"), 16).error
    assert f"1: The second text is {message}" in started.encode(("a", text), 16).error
    assert started.encode("a", 16).ids == [2, 5, 3]


def test_a_length_without_room_is_refused(driver):
    started = driver(letters_tokenizer())
    assert "max_length is 2, which leaves no room for a text beside its 2 special tokens. Use 3 or" in (
        started.encode("a", 2).error
    )
    assert (
        "no room for a pair of texts beside its 3 special tokens. Use 5 or more" in started.encode(("a", "b"), 4).error
    )
    assert started.encode("a b", 3).ids == [2, 5, 3]


def test_scores_are_read_as_tokenizers_reads_them(driver):
    """Ties between a token and its two halves, by scores whose last bit depends on how they are parsed."""
    chosen = random.Random(6)
    pieces = [("<unk>", 0.0)]
    for at in range(0, 1200, 2):
        first, second = -chosen.uniform(1, 20), -chosen.uniform(1, 20)
        pair = chr(0x4E00 + at) + chr(0x4E01 + at)
        pieces += [(pair[0], first), (pair[1], second), (pair, first + second)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    loaded = Tokenizer.from_str(tokenizer.to_str())
    started = driver(tokenizer)
    texts = [piece for piece, _ in pieces if len(piece) == 2]
    assert [started.encode(text).ids for text in texts] == [loaded.encode(text).ids for text in texts]
    assert any(loaded.encode(text).ids != tokenizer.encode(text).ids for text in texts)  # it does depend


@pytest.mark.parametrize("length", [3, 30, 47, 48, 49, 400])
def test_words_of_any_length_merge_alike(length, driver):
    texts = ["abab baab abba aabb babab bbaba abaab"] * 3
    tokenizer = words_bpe(texts, pre_tokenizers.WhitespaceSplit(), unk_token="<unk>")
    started = driver(tokenizer)
    chosen = random.Random(7)
    for _ in range(30):
        compare(started, tokenizer, "".join(chosen.choice("abz") for _ in range(length)))
