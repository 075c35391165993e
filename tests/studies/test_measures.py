import itertools
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from studies import measures
from studies.random_bundle import int8_here, make_bundle


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("measures")
    make_bundle(2, 48, str(path), ("fp32", int8_here()))
    return str(path)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_overhead_is_the_chains_time_over_the_whole_models(directory, monkeypatch, precision):
    answers = {}

    def medians(systems, runs, rest):
        answers.update({name: system() for name, system in systems.items()})
        return {"chain": 3.0, "whole": 2.0}

    monkeypatch.setattr(measures, "alternating_medians", medians)
    assert measures.chain_overhead(directory, 8, 1, 3, precision) == 1.5
    tolerance = 1e-5 if precision == "fp32" else 0.5  # two ways of quantization
    assert np.allclose(answers["chain"].logits, answers["whole"][0], atol=tolerance)


@pytest.mark.parametrize("whole_first", [False, True])
def test_the_order_of_loading_is_as_requested(directory, monkeypatch, whole_first):
    order = []
    load, session = measures.Classifier.load, measures.whole_session
    monkeypatch.setattr(measures.Classifier, "load", lambda *a, **k: order.append("chain") or load(*a, **k))
    monkeypatch.setattr(measures, "whole_session", lambda *a, **k: order.append("whole") or session(*a, **k))
    measures.chain_overhead(directory, 8, 1, 1, "fp32", whole_first)
    assert order == (["whole", "chain"] if whole_first else ["chain", "whole"])


@pytest.mark.parametrize("system", ["chain", "whole"])
def test_loading_is_timed_and_memory_is_the_processs(directory, monkeypatch, system):
    with monkeypatch.context() as patch:
        patch.setattr(measures, "time", SimpleNamespace(perf_counter=itertools.count(10, 2.5).__next__))
        assert measures.load_seconds(directory, system) == 2.5
    assert measures.resident_bytes(directory, system) == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)


def test_memory_over_a_file_is_compared_with_that_after_its_first_rows(directory, monkeypatch):
    monkeypatch.setattr(measures, "_EARLY_ROWS", 10)
    resident = iter((200, 210))
    monkeypatch.setattr(measures, "_resident", lambda: next(resident))
    assert measures.file_memory(directory, 30) == 1.05


def test_an_import_is_the_best_of_five_interpreters(monkeypatch):
    commands = []
    monkeypatch.setattr(measures.subprocess, "run", lambda command, check: commands.append(command[1:]))
    clock = iter((0, 5, 10, 12, 20, 29, 30, 34, 40, 48))
    monkeypatch.setattr(measures, "time", SimpleNamespace(perf_counter=clock.__next__))
    assert measures.import_seconds() == 2
    assert commands == [["-c", "import fastbert.runtime"]] * 5
