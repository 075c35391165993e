"""Texts through the C library: batches, windows and answers are Python's. What tokenizers do is tested elsewhere."""

import ctypes
import json
import shutil
from ctypes import byref

import numpy as np
import pytest
from support.factories import make_rows
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from fastbert.runtime import BundleError, Classifier, UsageError
from fastbert.runtime.cpp.binding import Answers, Encoding, Text
from fastbert.runtime.manifest import file_record


@pytest.fixture(scope="module")
def text_bundle(family_bundle, tmp_path_factory):
    """A bundle with a WordPiece tokenizer of the same vocabulary."""
    bundle = shutil.copytree(family_bundle("bert"), tmp_path_factory.mktemp("text") / "bundle")
    vocabulary = json.loads((bundle / "tokenizer.json").read_text())["model"]["vocab"]
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
    )
    return with_tokenizer(bundle, tokenizer)


def with_tokenizer(bundle, tokenizer):
    tokenizer.save(str(bundle / "tokenizer.json"))
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["tokenizer.json"] = file_record(bundle / "tokenizer.json")
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return bundle


@pytest.fixture(scope="module")
def session(open_session, text_bundle):
    made = open_session(text_bundle)
    if b"FASTBERT_TEXT=OFF" in (made.info.text_problem or b""):
        pytest.skip("this build does not tokenize")
    assert made.info.text_problem is None
    return made


@pytest.fixture(scope="module")
def classifier(text_bundle):
    return Classifier.load(text_bundle, threads=1)


def assert_same(session, classifier, texts, speed):
    found, expected = session.run_text(texts, speed=speed), classifier.predict(texts, speed=speed)
    assert found.exit_layer.tolist() == [one.exit_layer for one in expected]
    assert found.uncertainty.tolist() == [one.uncertainty for one in expected]
    labels = [session.labels[index] for index in found.logits.argmax(axis=1)]
    assert labels == [one.label for one in expected]


@pytest.mark.parametrize("speed", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("pairs", [False, True])
def test_answers(session, classifier, speed, pairs):
    rows = make_rows(150, seed=3, pairs=pairs)
    texts = [(row.text, row.text_pair) if pairs else row.text for row in rows]
    for part in (texts, texts[:1], texts[:2], []):
        assert_same(session, classifier, part, speed)


def test_more_than_a_window(session, classifier):
    texts = [row.text for row in make_rows(50, seed=4)]
    assert_same(session, classifier, [texts[number % 50] for number in range(4200)], 1.0)


def test_ids(session, classifier):
    texts = [row.text for row in make_rows(20, seed=5)] + ["good " * 100, "", ("bad", "film " * 100), ("", "")]
    for part in (texts[:22], texts[22:]):
        found, expected = session.encode(part), classifier.encode(part)
        for name in ("input_ids", "attention_mask", "token_type_ids", "truncated"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert session.encode(["good " * 100]).truncated.all()


def test_truncated_is_told(libfastbert, session):
    texts = (Text * 2)(Text(b"good", 4), Text(b"good " * 100, 500))
    truncated, label = (ctypes.c_uint8 * 2)(7, 7), (ctypes.c_int32 * 2)(-1, -1)
    answers = Answers(truncated=truncated, label=label)
    assert libfastbert.fastbert_classify_text(session._session, texts, None, 2, 0.5, byref(answers)) == 0
    assert list(truncated) == [0, 1]
    assert all(0 <= index < 3 for index in label)


def test_wrong_texts(libfastbert, session):
    def message(texts, rows=1, encoding=None):
        if encoding is None:
            arguments = (session._session, texts, None, rows, 0.5, byref(Answers()))
            assert libfastbert.fastbert_classify_text(*arguments) == 1
        else:
            assert libfastbert.fastbert_encode(session._session, texts, None, rows, byref(encoding)) == 1
        return libfastbert.fastbert_last_error().decode()

    good, wrong = Text(b"good", 4), Text(b"go\xffod", 5)
    assert message((Text * 2)(good, wrong), 2).startswith("texts[1]: ")
    assert message(None, 3) == "`texts` is null; it must be an array of 3 texts."
    assert message((Text * 1)(Text(None, 4))) == "The data of texts[0] is null, but its size is 4."
    assert message((Text * 1)(good), encoding=Encoding(capacity=47)).startswith("`capacity` is 47")
    assert session.run_text(["good"]).exit_layer.shape == (1,)


def test_text_may_be_empty_or_have_nuls(libfastbert, session, classifier):
    texts = (Text * 1)(Text(None, 0))
    layer = (ctypes.c_int32 * 1)(-1)
    assert (
        libfastbert.fastbert_classify_text(session._session, texts, None, 1, 0.0, byref(Answers(exit_layer=layer))) == 0
    )
    assert layer[0] == 2
    assert_same(session, classifier, ["good\0bad", "\0"], 0.3)


def test_a_tokenizer_of_another_kind(open_session, session, family_bundle):
    """Ids work all the same."""
    other = open_session(family_bundle("bert"))  # WordLevel
    assert not other.info.has_text
    with pytest.raises(UsageError, match="WordLevel"):
        other.run_text(["good"])
    assert other.run(np.array([[1, 5, 2]])).exit_layer.shape == (1,)


def test_a_damaged_tokenizer(open_session, session, copied):
    (copied / "tokenizer.json").write_text("{")
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["files"]["tokenizer.json"] = file_record(copied / "tokenizer.json")
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"tokenizer\.json could not be read: "):
        open_session(copied)


def test_ids_and_types_that_the_model_does_not_have(open_session, session, text_bundle, tmp_path):
    bundle = shutil.copytree(text_bundle, tmp_path / "bundle")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest.update(vocab_size=6, type_vocab_size=1)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    small = open_session(bundle)
    with pytest.raises(UsageError, match=r"^The tokenizer gives texts\[1\] the id \d+; the model knows 0 to 5"):
        small.run_text(["", "more"])
    assert not small.encode([("", "")]).token_type_ids.any()  # all are 0 where the model knows one type


def test_no_room_for_a_text(open_session, session, text_bundle, tmp_path):
    bundle = shutil.copytree(text_bundle, tmp_path / "bundle")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["max_length"] = 2
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"tokenizer\.json does not fit the manifest: "):
        open_session(bundle)
