import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from support.factories import make_rows, write_tsv
from support.tuning import make_answers

from fastbert.benchmarks.tuning.targets import TARGETS, Target
from studies import guarantees

ROOT = Path(__file__).resolve().parents[2]
REPORTS = sorted((ROOT / "studies/reports/guarantees").glob("*.json"))


def test_a_promise_is_kept_and_saves_less_than_an_oracle():
    found = guarantees.Everything(make_answers(1400)).judge(
        Target(TARGETS["min_agreement"], 0.98, 0.95), splits=20, seed=0
    )
    assert (found.promise, found.rows, found.splits) == ("min_agreement", 700, 20)
    assert found.failed_in_population <= 0.2  # 4 of 20: beyond chance with 2 %
    assert 0 < found.saving < found.oracle_saving < 1


def test_a_promise_that_ignores_its_rows_fails(monkeypatch):
    class Reckless:
        speed = 1.0

    monkeypatch.setattr(guarantees, "choose", lambda rows, target: Reckless)
    found = guarantees.Everything(make_answers(600)).judge(Target(TARGETS["max_drop"], 0.5, 0.95), splits=5, seed=0)
    assert (found.missed_on_other_half, found.failed_in_population, found.no_speed) == (1.0, 1.0, 0.0)
    assert found.missed_beyond_error == 1.0
    assert found.saving > found.oracle_saving


def test_the_oracle_stops_before_the_first_failure():
    assert guarantees._loosest(np.array([True, True, False, True])) == 1
    assert guarantees._loosest(np.array([True, True])) == 1


@pytest.mark.parametrize(("splits", "most"), [(200, 15), (40, 4)])
def test_failures_by_chance(splits, most):
    assert guarantees._most_by_chance(splits) == most


def test_the_study_runs_on_a_bundle(bundle, tmp_path, monkeypatch, capsys):
    bundle_copy = shutil.copytree(bundle, tmp_path / "bundle")
    files = [write_tsv(tmp_path / f"{name}.tsv", make_rows(160, seed=seed)) for seed, name in enumerate(("a", "b"))]
    output = tmp_path / "report.json"
    arguments = [bundle_copy, *files, "--tune", files[0], "--test", files[1], "--splits", 3, "--output", output]
    monkeypatch.setattr(sys, "argv", ["guarantees", *map(str, arguments)])
    assert guarantees.main() == 0
    report = json.loads(output.read_text())
    assert (report["rows"], report["classes"], report["files"]) == (320, 3, ["a.tsv", "b.tsv"])
    assert [(one["promise"], one["value"]) for one in report["promises"]] == [("min_agreement", 0.98)]  # of 160 rows
    first, second = report["tuned"]
    assert first["measuring_rows"] == 160
    assert second["error"].startswith("a.tsv has 160 rows")
    assert "min_agreement 0.98: 3 splits of 2 x 160 rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    "report", sorted((ROOT / "studies/reports/guarantees").glob("*.json")), ids=lambda path: path.stem
)
def test_the_tables_of_the_guide_are_those_of_the_reports(report):
    document, guide = json.loads(report.read_text()), (ROOT / "docs/tuning.md").read_text()
    assert guarantees.tuned_row(report.stem, document) in guide
    for kept in document["promises"]:
        assert guarantees.promise_row(report.stem, kept) in guide
        assert max(kept["missed_beyond_error"], kept["failed_in_population"]) <= kept["most_by_chance"]
