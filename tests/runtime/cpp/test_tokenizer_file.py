"""What the C library's tokenizer makes of a tokenizer.json: its kinds and options, older forms, and damage."""

# ruff: noqa: F401, F811 (fixtures are imported)

import base64
import itertools
import json
import re

import pytest
from support.cpp_tokenizer import SEEDS, compare, driver, expected, letters_tokenizer, program
from tokenizers import Tokenizer, models, normalizers, processors
from transformers import BertTokenizer, CamembertTokenizer, RobertaTokenizer, XLMRobertaTokenizer

from studies.tokenizer_cases import charsmap, fuzzed_texts, with_added_tokens
from studies.tokenizer_driver import Driver, refusal


def seed_model(name):
    return json.loads((SEEDS / f"{name}.json").read_text(encoding="utf-8"))["model"]


def unigram_vocabulary():
    return [(token, score) for token, score in seed_model("unigram")["vocab"]]


TABLE = charsmap({"\ufb01": "fi", "\u3000": " ", "\t": " ", "e\u0301": "\u00e9"})
FAMILIES = {
    "bert": lambda: BertTokenizer(vocab=seed_model("wordpiece")["vocab"]),
    "bert, cased": lambda: BertTokenizer(
        vocab=seed_model("wordpiece")["vocab"], do_lower_case=False, strip_accents=True, tokenize_chinese_chars=False
    ),
    "roberta": lambda: RobertaTokenizer(
        vocab=seed_model("byte_level")["vocab"], merges=[tuple(pair) for pair in seed_model("byte_level")["merges"]]
    ),
    "xlm-roberta": lambda: XLMRobertaTokenizer(vocab=unigram_vocabulary(), _spm_precompiled_charsmap=TABLE),
    "camembert": lambda: CamembertTokenizer(vocab=unigram_vocabulary(), _spm_precompiled_charsmap=TABLE),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_file_that_transformers_writes_for_a_family(family, program, tmp_path):
    FAMILIES[family]().save_pretrained(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    with Driver(program, tmp_path / "tokenizer.json") as started:
        for text in fuzzed_texts(150, seed=8):
            compare(started, tokenizer, text)
            compare(started, tokenizer, (text, "a good film"))


@pytest.mark.parametrize("name", ["wordpiece", "byte_level", "unigram"])
def test_older_files_do_not_name_the_kind_of_the_model(name, program, tmp_path):
    document = json.loads((SEEDS / f"{name}.json").read_text(encoding="utf-8"))
    del document["model"]["type"]
    if name == "byte_level":
        document["model"]["merges"] = ["#version: 0.2", *(" ".join(pair) for pair in document["model"]["merges"])]
        del document["pre_tokenizer"]["use_regex"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    with Driver(program, tmp_path / "tokenizer.json") as started:
        for text in ("a good film isn't bad", "\u597d\u7535\u5f71", "unable !"):
            compare(started, tokenizer, text)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda d: d["model"].update(type="WordLevel"), "4 .* model.type is .WordLevel"),
        (lambda d: d.update(model={"vocab": {"a": 0}}), "4 .* model has no type"),
        (lambda d: d.update(normalizer={"type": "Magic"}), "4 .* normalizer is a .Magic"),
        (lambda d: d.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "CharDelimiterSplit"}]}),
         r"4 .* pre_tokenizer.pretokenizers\[0\] is a .CharDelimiterSplit"),
        (lambda d: d.update(normalizer={"type": "Replace", "pattern": {"Regex": "(a|b)+"}, "content": ""}),
         r"4 .* normalizer.pattern.Regex is the regular expression .\(a\|b\)\+"),
        (lambda d: d.update(normalizer={"type": "Replace", "pattern": {"Regex": " *"}, "content": ""}), "4 .*Regex is"),
        (lambda d: d.update(post_processor={"type": "Fancy"}), "4 .* post_processor is a .Fancy"),
        (lambda d: d["model"].pop("vocab"), "2 .*model has no .vocab"),
        (lambda d: d["model"]["vocab"].update(good="x"), "2 .*model.vocab.good is .*x.*, not an integer"),
        (lambda d: d["model"]["vocab"].update(good=-1), "2 .*model.vocab.good is .-1., not an integer of 0"),
        (lambda d: d["model"]["vocab"].update(good=1.5), "2 .*model.vocab.good"),
        (lambda d: d["model"].update(unk_token="?!"), r"2 .*model.unk_token is .\?!., which is not in the voc"),
        (lambda d: d["normalizer"].pop("lowercase"), "2 .*normalizer has no .lowercase"),
        (lambda d: d["normalizer"].update(lowercase=1), "2 .*normalizer.lowercase is .1., not true or false"),
        (lambda d: d["added_tokens"][1].pop("lstrip"), r"2 .*added_tokens\[1\] has no .lstrip"),
        (lambda d: d["post_processor"]["single"][0]["SpecialToken"].update(id="[X]"),
         r"2 .*post_processor.single\[0\].SpecialToken.id is .\[X\]., which special_tokens"),
        (lambda d: d.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAA"}), "2 .*not Base64"),
        (lambda d: d.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "////////"}), "2 .*a table of"),
        (lambda d: d.update(model={"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}),
         r"2 .*model.merges\[0\] has the token .b., which is not in the vocabulary"),
        (lambda d: d.update(model={"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.5}), "4 .* random"),
        (lambda d: d.update(model={"type": "Unigram", "vocab": [["a", 0.5]], "unk_id": None}), "2 .*no unk_id"),
        (lambda d: d.update(model={"type": "Unigram", "vocab": [["a"]], "unk_id": 0}), r"2 .*model.vocab\[0\]"),
        (lambda d: d.update(model={"type": "Unigram", "vocab": [["a", 1]], "unk_id": 1}), "2 .*unk_id is 1, more"),
        (lambda d: d.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"}]}),
         r"4 .*pretokenizers\[1\].prepend_scheme is .first. after another"),
        (lambda d: (d["model"]["vocab"].update(big=2**31 - 1), d["added_tokens"].extend([added("big"), added("x!")])),
         r"2 added_tokens\[6\] gets no id"),
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
        (b"", "2 .*not JSON from byte 0"),
        (b"{", "2 .*not JSON from byte 1"),
        (b'{"a": 1, "a": 2}', "2 .*has the key .a. twice"),
        (b"[" * 100_000, "2 .*nested too deeply"),
        (b"[]", "2 The document is an array, not an object"),
        (b'{"model": {"type": "BPE", "vocab": {"\xff": 0}}}', "2 .*not JSON from byte"),
        (b'{"model": 1e999}', "2 .*has a number that is too large before byte 15"),
        (b"null", "2 The document is .null., not an object"),
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
