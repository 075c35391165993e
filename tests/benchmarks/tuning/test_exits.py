from dataclasses import replace

import numpy as np
import pytest
from support.factories import make_rows

from fastbert.benchmarks.tuning import exits as module
from fastbert.benchmarks.tuning.exits import KEPT, exit_answers, other_measure
from fastbert.benchmarks.tuning.measures import margin
from fastbert.runtime import Classifier
from fastbert.runtime.errors import BundleError
from fastbert.runtime.manifest import read_manifest

ROWS = make_rows(70, seed=5, pairs=True)


def find(bundle, rows=ROWS, sha="a" * 64, threads=1):
    manifest = read_manifest(bundle)
    return exit_answers(bundle, manifest, manifest.variants[0], rows, sha, device="cpu", threads=threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_answers_are_those_of_the_classifier(bundle_copy, classifier, monkeypatch, threads):
    monkeypatch.setattr(module, "WINDOW", 16)  # several windows
    found = find(bundle_copy, threads=threads)
    assert (found.computed, found.problem) == (True, None)
    for index, row in enumerate(ROWS):
        encoded = classifier.encode([row.text_input])
        logits, uncertainty = classifier.run_all_exits(encoded.input_ids, None, encoded.token_type_ids)
        assert found.exits.answers[index].tolist() == logits[0].argmax(axis=1).tolist()
        assert found.exits.uncertainty[index] == pytest.approx(uncertainty[0], abs=1e-5)
        assert found.exits.other[index] == pytest.approx(margin(logits)[0], abs=1e-4)


def test_the_results_are_kept_for_the_same_rows_and_engines(bundle_copy, monkeypatch):
    first = find(bundle_copy).exits
    (kept,) = (bundle_copy / KEPT).iterdir()
    assert kept.name.startswith("fp32-")
    assert b"good" not in kept.read_bytes()  # no texts
    other_file = find(bundle_copy, sha="b" * 64)
    assert other_file.computed
    monkeypatch.setattr(Classifier, "load", None)
    again = find(bundle_copy)
    assert not again.computed
    for name in ("answers", "uncertainty", "other"):
        assert np.array_equal(getattr(again.exits, name), getattr(first, name))


@pytest.mark.parametrize(
    "change",
    [
        {"answers": lambda found: found + 3},  # classes that there are not
        {"answers": lambda found: found - 1},
        {"uncertainty": lambda found: np.full_like(found, np.nan)},
        {"other": lambda found: found + 1},
        {"key": lambda found: np.array("another")},  # of other rows, under this name
    ],
)
def test_kept_results_that_cannot_be_right_are_made_again(bundle_copy, change):
    first = find(bundle_copy).exits
    (path,) = (bundle_copy / KEPT).iterdir()
    with np.load(path) as file:
        kept = dict(file)
    np.savez(path, **kept)
    assert not find(bundle_copy).computed
    ((name, changed),) = change.items()
    np.savez(path, **kept | {name: changed(kept[name])})
    again = find(bundle_copy)
    assert again.computed
    assert np.array_equal(again.exits.answers, first.answers)


@pytest.mark.parametrize("version", ["0.0.1", None])
def test_another_version_of_this_library_makes_them_again(bundle_copy, monkeypatch, version):
    find(bundle_copy)
    monkeypatch.setattr(module, "__version__", version or module.__version__)
    assert find(bundle_copy).computed is (version is not None)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half a file", None])
def test_kept_results_that_are_damaged_are_made_again(bundle_copy, damage):
    first = find(bundle_copy).exits
    (kept,) = (bundle_copy / KEPT).iterdir()
    if damage is None:  # of other rows
        np.savez(kept, answers=first.answers[:3], uncertainty=first.uncertainty[:3], other=first.other[:3])
    else:
        kept.write_bytes(damage)
    again = find(bundle_copy)
    assert again.computed
    assert np.array_equal(again.exits.answers, first.answers)
    assert not find(bundle_copy).computed


def test_where_nothing_can_be_kept_the_reason_is_returned(bundle_copy):
    (bundle_copy / KEPT).write_text("a file where the folder should be")
    found = find(bundle_copy)
    assert found.computed
    assert found.problem.startswith(f"{bundle_copy / KEPT} cannot be written: ")


def test_a_bundle_that_is_replaced_meanwhile_is_refused(bundle_copy, monkeypatch):
    manifest = read_manifest(bundle_copy)
    old = manifest.__class__(**{**vars(manifest), "max_length": 47})
    with pytest.raises(BundleError, match="was replaced while it was tuned"):
        exit_answers(bundle_copy, old, old.variants[0], ROWS, "a" * 64, device="cpu", threads=1)
    assert not (bundle_copy / KEPT).exists()


def test_the_measure_that_a_bundle_does_not_have(bundle):
    manifest = read_manifest(bundle)
    assert (manifest.uncertainty, other_measure(manifest)) == ("entropy", "margin")
    assert other_measure(replace(manifest, uncertainty="margin")) == "entropy"
