"""The C library's tokenizer against `tokenizers`. `python -m studies.tokenizer_parity` compares far more."""

import base64
import itertools
import json
import random
import re

import pytest
from support.cpp_tokenizer import DATA, SEEDS, build, compare, expected
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from fastbert.runtime.tokenization import TextEncoder
from studies.tokenizer_cases import (
    byte_level,
    charsmap,
    fuzzed_texts,
    read_rows,
    unigram,
    with_added_tokens,
    wordpiece,
    words_bpe,
    xlm_roberta_split,
)
from studies.tokenizer_driver import Driver, refusal

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="session")
def program():
    return build()


@pytest.fixture
def driver(program, tmp_path):
    """Start a driver with a tokenizer."""
    started = []

    def start(tokenizer: Tokenizer, mode: str = "encode") -> Driver:
        tokenizer.save(str(tmp_path / f"{len(started)}.json"))
        started.append(Driver(program, tmp_path / f"{len(started)}.json", mode))
        return started[-1]

    yield start
    for one in started:
        one.__exit__()


@pytest.mark.parametrize("name", sorted(path.stem for path in SEEDS.glob("*.json")))
def test_hard_texts_have_the_same_ids(name, program):
    tokenizer = Tokenizer.from_file(str(SEEDS / f"{name}.json"))
    texts = fuzzed_texts(300, seed=1)
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
    for row in sampled_rows(600):
        compare(started, tokenizer, row if len(row) == 2 else row[0])
        compare(started, tokenizer, row if len(row) == 2 else row[0], 16)


def all_characters():
    """Every assigned code point, and what lies around them, in parts of a few thousand."""
    blocks = [range(0xD800), range(0xE000, 0x32400), range(0xE0000, 0xE0200), range(0x10FFF0, 0x110000)]
    codes = list(itertools.chain(*blocks))
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


def letters_tokenizer():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS]
    return wordpiece(words)


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
    long = " ".join(fuzzed_texts(1500, seed=5))
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


@pytest.mark.parametrize(
    ("side", "texts"),
    [("right", ["a" + " " * 120_000 + "b", "a" + " " * 500_000 + "b", "", " "]), ("left", ["b" + "x" * 501_000])],
)
def test_what_is_read_of_texts_without_tokens_is_what_python_reads(side, texts, driver):
    tokenizer = letters_tokenizer()
    started = driver(tokenizer)
    encoder = python_encoder(tokenizer, 8, side)
    for text in texts:
        found = started.encode(text, 8, side)
        assert tuple(found[:3]) == encoder.tokenize([text])[0]


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


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda d: d["model"].update(type="WordLevel"), "4 .* model.type is .WordLevel"),
        (lambda d: d["model"].pop("type"), "4 .* model has no type"),
        (lambda d: d.update(normalizer={"type": "Magic"}), "4 .* normalizer is a .Magic"),
        (lambda d: d.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "CharDelimiterSplit"}]}),
         r"4 .* pre_tokenizer.pretokenizers\[0\] is a .CharDelimiterSplit"),
        (lambda d: d.update(normalizer={"type": "Replace", "pattern": {"Regex": "(a|b)+"}, "content": ""}),
         r"4 .* normalizer.pattern.Regex is the regular expression .\(a\|b\)\+"),
        (lambda d: d.update(normalizer={"type": "Replace", "pattern": {"Regex": " *"}, "content": ""}), "4 .*Regex is"),
        (lambda d: d.update(post_processor={"type": "Fancy"}), "4 .* post_processor is a .Fancy"),
        (lambda d: d["model"].pop("vocab"), "2 .* model has no .vocab"),
        (lambda d: d["model"]["vocab"].update(good="x"), "2 .* model.vocab.good is .*x.*, not an integer"),
        (lambda d: d["model"]["vocab"].update(good=-1), "2 .* model.vocab.good is .-1., not an integer of 0"),
        (lambda d: d["model"]["vocab"].update(good=1.5), "2 .* model.vocab.good"),
        (lambda d: d["model"].update(unk_token="?!"), r"2 .* model.unk_token is .\?!., which is not in the voc"),
        (lambda d: d["normalizer"].pop("lowercase"), "2 .* normalizer has no .lowercase"),
        (lambda d: d["normalizer"].update(lowercase=1), "2 .* normalizer.lowercase is .1., not true or false"),
        (lambda d: d["added_tokens"][1].pop("lstrip"), r"2 .* added_tokens\[1\] has no .lstrip"),
        (lambda d: d["post_processor"]["single"][0]["SpecialToken"].update(id="[X]"),
         r"2 .* post_processor.single\[0\].SpecialToken.id is .\[X\]., which special_tokens"),
        (lambda d: d.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAA"}), "2 .* not Base64"),
        (lambda d: d.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "////////"}), "2 .* a table of"),
        (lambda d: d.update(model={"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}),
         r"2 .* model.merges\[0\] has the token .b., which is not in the vocabulary"),
        (lambda d: d.update(model={"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.5}), "4 .* random"),
        (lambda d: d.update(model={"type": "Unigram", "vocab": [["a", 0.5]], "unk_id": None}), "2 .* no unk_id"),
        (lambda d: d.update(model={"type": "Unigram", "vocab": [["a"]], "unk_id": 0}), r"2 .* model.vocab\[0\]"),
        (lambda d: d.update(model={"type": "Unigram", "vocab": [["a", 1]], "unk_id": 1}), "2 .*unk_id is 1, more"),
        (lambda d: d.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"}]}),
         r"4 .*pretokenizers\[1\].prepend_scheme is .first. after another"),
        (lambda d: d["added_tokens"].extend([added("Foo"), added("FOO")]), "4 .* becomes .foo. as .FOO. does"),
    ],
)  # fmt: skip
def test_files_that_are_not_understood_are_refused_by_name(change, error, program, tmp_path):
    document = json.loads(letters_tokenizer().to_str())
    change(document)
    check_refused(json.dumps(document).encode(), error, program, tmp_path)


def added(content):
    return {"id": 99, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True,
            "special": False}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "2 .* not JSON from byte 0"),
        (b"{", "2 .* not JSON from byte 1"),
        (b'{"a": 1, "a": 2}', "2 .* it has the key .a. twice"),
        (b"[" * 100_000, "2 .* nested too deeply"),
        (b"[]", "2 .* the document is an array, not an object"),
        (b'{"model": {"type": "BPE", "vocab": {"\xff": 0}}}', "2 .* not JSON from byte"),
        (b'{"model": 1e999}', "2 .* has a number that is too large before byte 15"),
        (b"null", "2 .* the document is .null., not an object"),
    ],
)
def test_damaged_files_are_refused(content, error, program, tmp_path):
    check_refused(content, error, program, tmp_path)


def check_refused(content, error, program, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(content)
    message = refusal(program, tmp_path / "tokenizer.json")
    assert re.match(error, message), message
    assert "\n" not in message.strip()


@pytest.mark.parametrize(
    "processor",
    [
        None,
        processors.ByteLevel(),
        processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
        processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2)),
        processors.TemplateProcessing(
            single="$A:4 [X]:5", pair="$B:1 [X] $A:2 [SEP]:3", special_tokens=[
                ("[SEP]", 3), {"id": "[X]", "ids": [7, 8], "tokens": ["c", "d"]}]),
        processors.Sequence([processors.ByteLevel(), processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))]),
    ],
    ids=lambda processor: type(processor).__name__,
)  # fmt: skip
def test_special_tokens_and_types_are_those_of_the_post_processor(processor, driver):
    tokenizer = letters_tokenizer()
    if processor is None:
        document = json.loads(tokenizer.to_str())
        tokenizer = Tokenizer.from_str(json.dumps({**document, "post_processor": None}))
    else:
        tokenizer.post_processor = processor
    started = driver(tokenizer)
    for text, length in itertools.product(("a b c", ("a b", "c d e"), ("", "a"), ""), (None, 6, 8)):
        compare(started, tokenizer, text, length)


def test_ids_of_added_tokens_are_those_that_tokenizers_gives_them(driver):
    """Whatever the file says: a token that the model has keeps its id, others get the next one."""
    document = json.loads(with_added_tokens(letters_tokenizer()).to_str())
    for token in document["added_tokens"]:
        token["id"] += 40
    tokenizer = Tokenizer.from_str(json.dumps(document))
    started = driver(tokenizer)
    # `save` would write the corrected ids
    started.__exit__()
    for text in ("@user a", "[SEP] @username b", "xHttp <L> <B>  c"):
        assert driver(tokenizer).encode(text) == expected(tokenizer, text)


def test_a_charsmap_is_read_as_the_file_writes_it(driver):
    table = charsmap({"a": "bcd", "\u00e9": "e", "e\u0301": "E", "\u3000": " "})
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Precompiled(table)
    assert base64.b64encode(table).decode() in tokenizer.to_str()
    assert driver(tokenizer, "pieces").pieces("xa\u0301e\u0301\u00e9\u3000e\0a") == ["xbcdEe e\0bcd"]
