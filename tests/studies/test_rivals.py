import json
import sys
from pathlib import Path

import pytest

from studies import rivals

ROOT = Path(__file__).resolve().parents[2]
REPORTS = sorted((ROOT / "studies/reports/rivals").glob("*/report.json"))


def _system(family, speed, accuracy, p50):
    return {
        "family": family,
        "speed": speed,
        "accuracy": accuracy,
        "latency_with_tokenization": {"p50_ms": p50},
    }


def _rival(name, accuracy, p50, **settings):
    return {"name": name, "accuracy": accuracy, "latency_with_tokenization": {"p50_ms": p50}, "settings": settings}


@pytest.fixture
def report():
    families = [("fp32", "chain", "float32"), ("int8", "chain", "int8"), ("onnxruntime", "whole", "float32")]
    return {
        "model": {"layers": 6},
        "verdict": {"allowed_loss": 0.005},
        "families": [{"name": name, "kind": kind, "precision": precision} for name, kind, precision in families],
        "single_stream": {
            "rows": 500,
            "systems": [
                _system("onnxruntime", None, 0.900, 4.0),
                _system("fp32", 0.3, 0.895, 2.0),
                _system("fp32", 0.5, 0.894, 1.0),  # 0.6 points less: too many
                _system("int8", 0.3, 0.896, 0.8),
            ],
            "rivals": [
                _rival("shallow int8", 0.85, 0.4, layers=1),
                _rival("tfidf", 0.80, 0.9),
                _rival("fasttext", 0.79, 0.04),
            ],
        },
    }


def test_the_chain_is_the_fastest_within_the_allowance(report):
    assert rivals.system_rows("set", report) == [
        "| set, 500 rows | fp32 | 90.0% at 1 | 89.5% at 0.5 |  |  |  | 80.0% at 0.23 | 79.0% at 0.01 |",
        "|  | int8 |  | 89.6% at 0.2 |  |  | 85.0% at 0.1 |  |  |",
    ]


def test_the_best_at_each_latency(report):
    assert rivals.best_rows({"set": report}) == [
        "| 0.02 | 79.0%: fastText |",
        "| 0.1 | 85.0%: int8, 1 layer |",
        "| 0.2 | 89.6%: int8, speed 0.3 |",
        "| 0.3 | 89.6%: int8, speed 0.3 |",
        "| 0.5 | 89.6%: int8, speed 0.3 |",
        "| 1 | 90.0%: fp32, whole model |",
    ]


def test_of_equals_the_fastest_and_nothing_where_all_are_slower(report):
    equal = [rivals.Point("tfidf", "", 0, None, 0.8, latency) for latency in (0.5, 0.1, 0.2)]
    assert rivals._best(equal, 0.5) == equal[1]
    assert rivals._best(equal, 0.05) is None


def test_the_study_prints_both_tables(report, tmp_path, monkeypatch, capsys):
    path = tmp_path / "set" / "report.json"
    path.parent.mkdir()
    path.write_text(json.dumps(report))
    monkeypatch.setattr(sys, "argv", ["rivals", str(path)])
    assert rivals.main() == 0
    assert capsys.readouterr().out.splitlines() == rivals.tables({"set": report})


def test_the_tables_of_the_guide_are_those_of_the_reports():
    guide = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    assert REPORTS
    for row in rivals.tables(rivals.read_reports(REPORTS)):
        assert row in guide
