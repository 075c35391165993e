import importlib.util
import json
import shutil
import sys
from types import SimpleNamespace

import pytest
from support.factories import LABELS, make_checkpoint, make_rows, write_tsv

from fastbert.benchmarks.rivals import load_rivals
from fastbert.benchmarks.rivals.bundles import bundle_answers
from fastbert.export import export_bundle
from fastbert.runtime import Classifier
from fastbert.runtime.errors import DataError, UsageError
from fastbert.runtime.manifest import MANIFEST, read_manifest

TEXTS = ["good bright film", "bad dull plot", "the film", ("good", "bright")]


@pytest.fixture(scope="module")
def shallow(tmp_path_factory):
    """A model of one layer, with the labels in another order."""
    path = tmp_path_factory.mktemp("rivals") / "shallow"
    export_bundle(make_checkpoint(layers=1, labels=LABELS[::-1]), path)
    return path


def load(bundle, *, train=None, bundles=()):
    return load_rivals(train, bundles, read_manifest(bundle), device="cpu", threads=1, seed=0)


def without_fasttext(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fasttext" else find(name))


def test_tfidf_learns_from_words_and_fasttext_is_skipped_where_it_is_absent(bundle, tmp_path, monkeypatch):
    without_fasttext(monkeypatch)
    train = write_tsv(tmp_path / "train.tsv", make_rows(300, seed=7))
    [tfidf], [skipped] = load(bundle, train=train)
    assert [LABELS[tfidf.answer(text)[0]] for text in TEXTS] == ["positive", "negative", "neutral", "positive"]
    assert tfidf.answer("good")[1] == 0.0
    assert (tfidf.name, tfidf.settings["train_rows"]) == ("tfidf", 300)
    assert skipped.name == "fasttext"
    assert "pip install fasttext-numpy2" in skipped.reason


def test_fasttext_is_trained_on_the_same_rows(bundle, tmp_path, monkeypatch):
    """Its calls, with a double; the real one runs where it is installed."""
    trained = []

    def train_supervised(path, **options):
        with open(path, encoding="utf-8") as file:
            trained.append((file.read().splitlines(), options))
        return SimpleNamespace(predict=lambda text: (["__label__2"], [0.9]))

    monkeypatch.setitem(sys.modules, "fasttext", SimpleNamespace(train_supervised=train_supervised, __spec__=object()))
    rows = make_rows(60, seed=7)
    [_, fasttext], skipped = load(bundle, train=write_tsv(tmp_path / "train.tsv", rows))
    assert skipped == []
    assert fasttext.answer("anything") == (2, 0.0)
    lines, options = trained[-1]
    assert len(lines) == 60
    assert lines[0] == f"__label__{LABELS.index(rows[0].label)} {rows[0].text}"
    assert options["thread"] == 1
    assert len(trained) == 3  # two settings on held-out rows, and the better one on all


@pytest.mark.skipif(importlib.util.find_spec("fasttext") is None, reason="fasttext is not installed")
def test_the_real_fasttext_learns_from_words(bundle, tmp_path):
    [_, fasttext], _ = load(bundle, train=write_tsv(tmp_path / "train.tsv", make_rows(600, seed=7)))
    assert [LABELS[fasttext.answer(text)[0]] for text in ("good good bright", "bad dull bad")] == [
        "positive",
        "negative",
    ]


def test_a_bundle_answers_at_full_depth_with_the_benched_bundles_classes(bundle, shallow):
    [rival], _ = load(bundle, bundles=[shallow])
    classifier = Classifier.load(shallow, threads=1)
    for text in TEXTS:
        index, tokenization_ms = rival.answer(text)
        assert LABELS[index] == classifier.predict([text], speed=0.0)[0].label
        assert tokenization_ms > 0
    assert (rival.name, rival.title, rival.settings["layers"]) == ("shallow fp32", "shallow fp32, 1 layer", 1)


def test_bundles_of_the_same_name_are_told_apart(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / bundle.name)
    found, _ = load(bundle, bundles=[bundle, tmp_path / bundle.name])
    parents = [bundle.parent.name, tmp_path.name]
    assert [rival.name for rival in found] == [f"{parent}/bundle fp32" for parent in parents]
    found, _ = load(bundle, bundles=[bundle, bundle / ".." / bundle.name])
    assert [rival.name for rival in found] == ["bundle fp32"]  # the same one


def test_rivals_that_do_not_fit_are_refused(bundle, tmp_path):
    other = tmp_path / "other"
    export_bundle(make_checkpoint(layers=1, labels=("no", "yes")), other)
    with pytest.raises(UsageError, match="`rival_bundles`: .*: it has no, yes; it lacks .*, .*, [a-z]+. Name a bundle"):
        load(bundle, bundles=[other])
    with pytest.raises(UsageError, match=r": it has no, yes; it lacks l0, l1, l10, .* and 980 more\. Name"):
        next(bundle_answers(other, [f"l{index}" for index in range(1000)], device="cpu", threads=1))
    with pytest.raises(DataError, match="the label is missing"):
        load(bundle, train=write_tsv(tmp_path / "d.tsv", make_rows(5), labels=False))


def test_rows_of_one_label_are_refused_and_texts_without_words_skip_the_rival(bundle, tmp_path, monkeypatch):
    without_fasttext(monkeypatch)
    path = tmp_path / "one.tsv"
    path.write_text("label\ttext\n" + f"{LABELS[0]}\tgood film\n" * 30)
    with pytest.raises(DataError, match=f"every row of .*one.tsv has the label '{LABELS[0]}', and a model needs"):
        load(bundle, train=path)
    path.write_text("label\ttext\n" + "".join(f"{LABELS[row % 2]}\t!!!\n" for row in range(30)))
    rivals, [tfidf, _] = load(bundle, train=path)
    assert rivals == []
    assert tfidf.name == "tfidf"
    assert "scikit-learn cannot learn from these 30 rows: empty vocabulary" in tfidf.reason


def test_a_variant_of_an_engine_that_is_not_known_is_no_rival(bundle, shallow, tmp_path):
    newer = tmp_path / "newer"
    shutil.copytree(shallow, newer)
    document = json.loads((newer / MANIFEST).read_text())
    document["variants"] = {"next": {**document["variants"]["fp32"], "engine": "next"}, **document["variants"]}
    (newer / MANIFEST).write_text(json.dumps(document))
    [rival], _ = load(bundle, bundles=[newer])
    assert rival.name == "newer fp32"
