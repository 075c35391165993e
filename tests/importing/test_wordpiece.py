import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.originals import TEXTS, ids_of, make_vocabulary, words_of
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from fastbert.importing.wordpiece import read_vocabulary, wordpiece_tokenizer
from fastbert.runtime.errors import CheckpointError

EDGES = [
    "ΚΌΣΜΟΣ ΣΑΣ Σ ΑΣ.",
    "İstanbul Ångström éè",
    "\U0002b825\U0002b826 a\U0002b827b",
    "[CLS]好[SEP] [SEP]. x[SEP] [sep] [ MASK ] [MASK",
    "\x00a\x0bb\x85c\u2029d\ufffd\ue000[SEP]\ue000sep]",
    "$5+3=8 ^_^ `x` <b> | ~",
    "a" * 100 + " " + "a" * 101,
    "한국어 ภาษาไทย 😀‍👩 ㍿",
    "\u3000\u00a0\t\r\n",
]


def make(vocabulary, keeps_special, *, max_length=512):
    return wordpiece_tokenizer(
        vocabulary,
        single="[CLS]:0 $A:0",
        pair="[CLS]:0 $A:0 $B:0",
        special_ids={"[CLS]": vocabulary["[CLS]"]},
        keeps_special=keeps_special,
        max_length=max_length,
    )


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    make_vocabulary(path)
    return read_vocabulary(path)


@pytest.mark.parametrize("keeps_special", [False, True])
@pytest.mark.parametrize("text", [*EDGES, *TEXTS])
def test_words_match_the_original(text, keeps_special, vocabulary):
    backend = make(vocabulary, keeps_special).backend_tokenizer
    words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))]
    assert words == words_of(text, keeps_special)
    expected = ids_of(text, vocabulary, keeps_special=keeps_special, length=512, first=vocabulary["[CLS]"])
    assert backend.encode(text).ids == expected


_PIECES = st.sampled_from([*"aÉΣσß好﹏书.。'[] \t\u2028", "[SEP]", "[CLS]", "[unk]", "[MASK", "good", "\u0301", "ΑΣ"])


@settings(max_examples=300, deadline=None)
@given(st.lists(_PIECES, max_size=12).map("".join), st.booleans())
def test_any_combination_gives_the_words_of_the_original(vocabulary, text, keeps_special):
    backend = make(vocabulary, keeps_special).backend_tokenizer
    words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))]
    assert words == words_of(text, keeps_special)


def test_saving_and_dropping_added_tokens_change_nothing(vocabulary, tmp_path):
    tokenizer = make(vocabulary, False, max_length=9)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(str(tmp_path), use_fast=True)
    assert loaded.split_special_tokens and loaded.pad_token_id == vocabulary["[PAD]"] and loaded.model_max_length == 9
    document = json.loads(loaded.backend_tokenizer.to_str())
    document["added_tokens"] = []
    alone = Tokenizer.from_str(json.dumps(document))
    for text in [*EDGES, *TEXTS]:
        expected = tokenizer.backend_tokenizer.encode(text).ids
        assert loaded.backend_tokenizer.encode(text).ids == expected == alone.encode(text).ids


def test_the_ids_of_a_vocabulary_are_its_line_numbers(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("\ufeff[PAD]\n[UNK]\t1\n\u2028\n[CLS]\r\nx\ny\nx\n".encode())
    vocabulary = read_vocabulary(path)
    assert len(vocabulary) == 7 and sorted(vocabulary.values()) == list(range(7))
    assert [vocabulary[token] for token in ("[PAD]", "[UNK]", "[CLS]", "y", "x")] == [0, 1, 3, 5, 6]


def test_a_file_that_is_not_a_vocabulary_is_refused(tmp_path):
    path = tmp_path / "vocab.txt"
    with pytest.raises(CheckpointError, match="as `vocab`"):
        read_vocabulary(path)
    path.write_text("[PAD]\n[UNK]\na\n")
    with pytest.raises(CheckpointError, match=r"no token \[CLS\] among its 3 lines"):
        read_vocabulary(path)
    path.write_bytes(b"[PAD]\n[UNK]\n\xff\n")
    with pytest.raises(CheckpointError, match="line 3: not UTF-8"):
        read_vocabulary(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="among its 0 lines"):
        read_vocabulary(path)
