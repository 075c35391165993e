from pathlib import Path

import pytest

from fastbert.benchmarks.tuning import TuneOptions
from fastbert.benchmarks.tuning.targets import TARGETS, Target
from fastbert.runtime.errors import UsageError

DATA = Path("dev.tsv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one target, and none was given. Name one of `max_drop`, `min_agreement`, `speedup`"),
        ({"max_drop": 1, "speedup": 2}, "exactly one target, and `max_drop` and `speedup` were given"),
        ({"max_drop": -1}, "`max_drop` is -1; it must be points of accuracy, from 0 to less than 100"),
        ({"max_drop": float("nan")}, "`max_drop` is nan"),
        ({"min_agreement": 99}, "`min_agreement` is 99; it must be a share above 0 and at most 1, such as 0.99"),
        ({"min_agreement": 0}, "`min_agreement` is 0"),
        ({"speedup": 1}, "`speedup` is 1; it must be a finite number above 1"),
        ({"speedup": float("inf")}, "`speedup` is inf"),
        ({"max_latency_ms": 0}, "`max_latency_ms` is 0; it must be a finite number of milliseconds above 0"),
        ({"min_accuracy": 90}, "`min_accuracy` is 90; it must be a share"),
        ({"speedup": 2, "confidence": 0.9}, "`confidence` makes `max_drop` and `min_agreement` a guarantee; there is"),
        ({"min_agreement": 0.99, "confidence": 95}, "`confidence` is 95; it must be at least 0.5 and less than 1"),
        ({"min_agreement": 0.99, "confidence": 1}, "`confidence` is 1;"),
        ({"min_agreement": 0.99, "confidence": 0.05}, "`confidence` is 0.05;"),
        ({"min_agreement": 1, "confidence": 0.95}, "`min_agreement` 1 leaves no room for a loss"),
        ({"max_drop": 0, "confidence": 0.95}, "`max_drop` 0 leaves no room for a loss"),
        ({"max_drop": 1e-9, "confidence": 0.95}, "`max_drop` 1e-09 leaves no room for a loss"),
        ({"max_drop": 1e-300, "confidence": 0.95}, "`max_drop` 1e-300 leaves no room for a loss"),
        ({"max_drop": 5e-324, "confidence": 0.95}, "`max_drop` 4.94066e-324 leaves no room for a loss"),
        ({"min_agreement": 1e-17, "confidence": 0.95}, "`min_agreement` 1e-17 allows every loss"),
        ({"max_drop": 1, "ignore_labels": True}, "`max_drop` needs labels, and `ignore_labels` takes them away"),
        ({"speedup": 2, "name": "0.5"}, "`name` is '0.5'; it must be a letter, then at most 63 letters"),
        ({"speedup": 2, "name": "NaN"}, "`name` is 'NaN', which a command line reads as a number"),
        ({"speedup": 2, "name": "infinity"}, "reads as a number"),
        ({"speedup": 2, "name": "a" * 65}, "`name` is 'aaa"),
        ({"speedup": 2, "threads": 0}, "`threads` is 0"),
        ({"speedup": 2, "seed": -1}, "`seed` is -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UsageError, match=message):
        TuneOptions(DATA, **options)


def test_words_agree_with_the_value():
    assert TuneOptions(DATA, max_drop=1).target.words.startswith("lose at most 1 point of accuracy")
    assert TuneOptions(DATA, max_drop=0.5).target.words.startswith("lose at most 0.5 points of accuracy")


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_is_an_option(name):
    value = {"max_drop": 0.5, "speedup": 3, "max_latency_ms": 2}.get(name, 0.9)
    target = TuneOptions(DATA, **{name: value}).target
    assert (target.kind.name, target.value, target.confidence) == (name, value, None)
    assert f"{100 * value:g} %" in target.words or f"{value:g} " in target.words


def test_a_figure_equal_to_the_target_meets_it():
    assert Target(TARGETS["max_drop"], 0.3).is_met(100 * 3 / 1000)  # 0.3 and a little, as a float
    assert Target(TARGETS["min_agreement"], 0.9).is_met(1 - 0.1)
    assert not Target(TARGETS["min_agreement"], 0.99).is_met(0.9899)
    assert Target(TARGETS["min_agreement"], 0.99).most_loss == pytest.approx(0.01)
