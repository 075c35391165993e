import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from fastbert.runtime import long_texts
from fastbert.runtime.errors import UsageError
from fastbert.runtime.tokenization import TextEncoder

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def wordpiece():
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *LETTERS,
        *(f"##{letter}" for letter in LETTERS),
        "ab",
        "##cd",
        "好",
        "!",
    ]
    tokenizer = Tokenizer(models.WordPiece({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def byte_level():
    vocabulary = {letter: at for at, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [(first, second) for first in "abcĠ" for second in "abc"]
    for token in ("".join(pair) for pair in merges):
        vocabulary[token] = len(vocabulary)
    vocabulary |= {"<s>": len(vocabulary), "</s>": len(vocabulary) + 1}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ends = (("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"]))
    tokenizer.post_processor = processors.RobertaProcessing(*ends)
    return tokenizer


def unigram():
    pieces = [("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("ab", -2.5), ("▁ab", -2.1), ("bcd", -2.2)]
    tokenizer = Tokenizer(models.Unigram([*pieces, *((letter, -3.0) for letter in LETTERS)], unk_id=2))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return tokenizer


def plain():
    """No special tokens, and no tokens for white space or unknown words."""
    tokenizer = Tokenizer(models.BPE({letter: at for at, letter in enumerate(LETTERS)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


KINDS = {make.__name__: make for make in (wordpiece, byte_level, unigram, plain)}


def make_encoder(kind, **changes):
    tokenizer = KINDS[kind]()
    settings = {"max_length": 16, "pad_token_id": 0, "vocab_size": tokenizer.get_vocab_size(), "token_types": 2}
    return TextEncoder(tokenizer, **settings | changes)


def whole(kind, text, max_length, side):
    """Tokenize a whole text with the tokenizer itself."""
    tokenizer = KINDS[kind]()
    tokenizer.enable_truncation(max_length, direction=side)
    found = tokenizer.encode(*text) if isinstance(text, tuple) else tokenizer.encode(text)
    return found.ids, found.type_ids, bool(found.overflowing)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["good", None], r"texts\[1\] is None; each must be a string or a tuple of two"),
        ([("good", 3)], r"texts\[0\] is \('good', 3\)"),
        ([["good", "bad"]], r"texts\[0\] is \['good', 'bad'\]"),
        ([["x" * 5000]], r"texts\[0\] is \['xxx.{50,80}\.\.\.; each must be"),
        (["good", "ba\udcff"], r"texts\[1\] has an unpaired surrogate at index 2, so it is not valid Unicode"),
        ([("good", "\ud800")], r"texts\[0\] has an unpaired surrogate"),
        ([("good " * 900, "\ud800" * 9000)], r"texts\[0\] has an unpaired surrogate"),
        (["\ud800" * 900_000], r"texts\[0\] has an unpaired surrogate"),
    ],
)
def test_other_values_than_texts_are_named_by_their_index(classifier, texts, message):
    with pytest.raises(UsageError, match=message):
        classifier.predict(texts)


def test_any_unicode_is_a_text(classifier):
    texts = ["\x00", "\ufeff", "\u202egood", "👍🏽" * 9, "\u2028", "e\u0301", "\U0010ffff", "\t\r\n", " " * 4000]
    assert len(classifier.predict(texts)) == len(texts)


# parts long enough that a text is cut several times, of few tokens and of many
parts = st.sampled_from(
    ["ab cd ", "abcdabcd", " ", "\n", "好", "😀", "!", "e\u0301", "\u200b", "x" * 120 + " ", "[SEP]", "Σ"]
)


def texts_of(runs, longest):
    return st.lists(st.tuples(parts, st.integers(1, longest)), max_size=runs).map(
        lambda drawn: "".join(part * count for part, count in drawn)
    )


# shorter pairs, as the tokenizer itself combines all their cut-off parts
drawn_texts = texts_of(6, 400) | st.tuples(texts_of(4, 60), texts_of(4, 60))


def is_too_much(kind, text, max_length):
    """Return whether the tokenizer itself would fill the memory with combinations of a pair's cut-off parts."""
    if isinstance(text, str):
        return False
    first, second = (len(KINDS[kind]().encode(part)) * 2 // (max_length - 4) for part in text)
    return first * second > 5000


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", ["wordpiece", "byte_level", "unigram"])
@settings(max_examples=30)
@given(st.lists(drawn_texts, min_size=1, max_size=3), st.integers(20, 41))
@example([("ab cd " * 90, "好" * 180), "abcd " * 3000, "", " " * 9000 + "ab"], 22)
@example([("ab " * 250, "cd " * 250), ("ab " * 250, "cd " * 249), ("ab " * 249, "cd " * 250)], 23)
@example([(" " * 900, "ab cd " * 90), ("ab cd " * 90, ""), ("ab", "cd " * 200)], 20)
def test_a_part_of_a_long_text_gives_the_tokens_of_the_whole(kind, side, texts, max_length):
    encoder = make_encoder(kind, max_length=max_length, truncation_side=side)
    for text, found in zip(texts, encoder.tokenize(texts), strict=True):
        if is_too_much(kind, text, max_length):
            continue
        ids, type_ids, truncated = whole(kind, text, max_length, side)
        assert found == (ids, type_ids, truncated)


@pytest.mark.parametrize("text", ["a" * 120_000, " " * 120_000, "\u200b" * 40_000])
def test_a_text_with_next_to_no_tokens_is_read_up_to_a_limit_and_flagged(text, monkeypatch):
    monkeypatch.setattr(long_texts, "_LONGEST_READ", 100_000)  # as the real limit takes seconds
    encoder = make_encoder("wordpiece")
    [long, short] = encoder.tokenize([text, text[:25_000]])
    assert long.ids == short.ids and len(long.ids) < 4
    assert (long.truncated, short.truncated) == (True, False)


@pytest.mark.parametrize("text", ["", " ", "\n\t", "é", ("", ""), ("", " "), (" " * 900, "")])
def test_a_text_without_a_token_gets_a_padding_token_alone_and_in_a_batch(text):
    encoder = make_encoder("plain", pad_token_id=7)
    [alone] = encoder.tokenize([text])
    assert alone == ([7], [0], False)
    batch = encoder.encode([text, "ab cd"])
    assert batch.attention_mask.tolist() == [[1, 0, 0, 0], [1, 1, 1, 1]]
    assert batch.input_ids.tolist() == [[7, 7, 7, 7], [0, 1, 2, 3]]


def test_a_pair_needs_room_for_a_token_of_both_texts():
    encoder = make_encoder("wordpiece", max_length=4)
    assert encoder.tokenize(["ab"])[0].ids[0] == 2
    with pytest.raises(
        UsageError,
        match=r"texts\[1\] is a pair of texts, for which a max_length of 4 leaves no room: .* take 3.* 5 or more",
    ):
        encoder.tokenize(["ab", ("ab", "cd")])
    assert len(make_encoder("wordpiece", max_length=5).tokenize([("ab" * 9, "cd" * 9)])[0].ids) == 5
    with pytest.raises(
        UsageError,
        match="`max_length` is 2, which leaves no room for a text beside its 2 special tokens. Use 3 or more",
    ):
        make_encoder("wordpiece", max_length=2)


def test_an_id_that_the_model_does_not_have_is_named():
    encoder = make_encoder("wordpiece", vocab_size=wordpiece().token_to_id("!"))
    with pytest.raises(UsageError, match=r"texts\[3\] has the token '!' with the id \d+; the model knows 0 to"):
        encoder.tokenize(["ab", "cd!"], first=2)


def repeated(tokenizer):
    return processors.TemplateProcessing(
        single="[CLS] $A [SEP] $A", pair="[CLS] $A [SEP] $B $A", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )


def of_a_third_type(tokenizer):
    return processors.TemplateProcessing(
        single="$A [SEP] [CLS]:2", pair="$A $B:1 [CLS]:2", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )


@pytest.mark.parametrize(
    ("post_processor", "message"),
    [
        (repeated, r"gives texts\[1\] \d+ tokens, more than the max_length of 16\. .* repeats a text"),
        (
            of_a_third_type,
            r"gives texts\[\d\] the token type 2; the model knows 0 to 1\. The post_processor in ",
        ),
    ],
)
@pytest.mark.parametrize("text", ["ab " * 12, "ab " * 9000, ("ab " * 9, "ab " * 9), ("ab " * 9000, "ab " * 9000)])
def test_a_template_that_the_model_cannot_take_is_refused(post_processor, message, text, monkeypatch):
    tokenizer = wordpiece()
    tokenizer.post_processor = post_processor(tokenizer)
    monkeypatch.setitem(KINDS, "wordpiece", lambda: tokenizer)
    with pytest.raises(UsageError, match=message):
        make_encoder("wordpiece").tokenize(["ab", text])


def test_many_cut_pairs_take_bounded_memory():
    script = (
        "import resource, sys\n"
        "from tokenizers import Tokenizer\n"
        "from fastbert.runtime.tokenization import TextEncoder\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "encoder = TextEncoder(Tokenizer.from_str(sys.argv[1]), max_length=5, pad_token_id=0, vocab_size=99,\n"
        "                      token_types=2)\n"
        "encoder.tokenize(['ab'])\n"
        "before = peak()\n"
        "encoder.tokenize([('好' * length, '好' * length) for length in range(1, 134)])\n"
        "print((peak() - before) // 1024)"
    )
    arguments = [sys.executable, "-c", script, wordpiece().to_str()]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50  # MB


def test_one_prediction_of_any_text_or_pair_takes_bounded_memory(bundle):
    script = (
        "import resource, sys\n"
        "from fastbert.runtime import Classifier\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "classifier = Classifier.load(sys.argv[1], threads=1)\n"
        "words, marks = 'good film ' * 100_000, '!?' * 500_000\n"
        "texts = [(words, words), (marks, words), '好' * 900_000, ' ' * 200_000 + marks]\n"
        "classifier.predict(['good', 'bad'])\n"
        "before = peak()\n"
        "for text in texts: assert classifier.predict([text])[0].truncated\n"
        "classifier.predict([(words[:9000], words[:20_000])] * 25 + [words[:20_000]] * 100)\n"
        "print((peak() - before) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", script, bundle], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100  # MB


def test_a_tokenizer_that_fails_is_our_error():
    tokenizer = Tokenizer(models.WordLevel({"ab": 0}, unk_token="[UNK]"))
    encoder = TextEncoder(tokenizer, max_length=8, pad_token_id=0, vocab_size=1, token_types=1)
    with pytest.raises(UsageError, match="The tokenizer failed on a text: .*Missing"):
        encoder.tokenize(["ab", "cd"])
