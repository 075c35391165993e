import json
import sys

import numpy as np
import pytest

from studies import full_batches, simulated_batches
from studies.full_batches import DrawnRule, probability


@pytest.mark.parametrize(("mean", "exits"), [(1.6, tuple(range(6))), (3.0, tuple(range(12))), (5.0, (3, 7, 11))])
def test_rows_are_drawn_to_run_a_mean_number_of_layers(mean, exits):
    rule = DrawnRule(probability(mean, exits))
    passed = np.stack([~rule.exits(np.zeros(50_000, np.float32)) for _ in exits[:-1]]).cumprod(axis=0).sum(axis=0)
    assert np.array(exits)[passed].mean() + 1 == pytest.approx(mean, rel=0.02)


def test_the_systems_are_timed_on_the_same_rows(gpu_bundle):
    found = full_batches.measure(
        gpu_bundle,
        rows=20,
        sequences=[16],
        batches=[8, 4],
        mean_layers=[1.5],
        passes=1,
        provider="CPUExecutionProvider",
    )
    [shape] = found["shapes"]
    assert len(shape["rows_per_s"]) == 6
    assert all(speed > 0 for speed in shape["rows_per_s"].values())


def test_where_a_stage_costs_the_same_for_any_rows_only_full_batches_save(tmp_path, monkeypatch, capsys):
    shape = {"embeddings_ms": 0.0, "compaction_ms": 0.0, "logits_ms": 0.0, "whole_model_ms": 6.0, "stage_ms": [1.0] * 6}
    shapes = [{**shape, "batch": batch, "sequence": 64} for batch in (1, 32)]
    stages = {"models": [{"layers": 6, "hidden_size": 384, "exits": list(range(6)), "shapes": shapes}], "gpu": {}}
    (tmp_path / "stages.json").write_text(json.dumps(stages))
    arguments = [str(tmp_path / "stages.json"), "--rows", "8000", "--batches", "32", "--mean-layers", "2", "--output"]
    monkeypatch.setattr(sys, "argv", ["simulated_batches", *arguments, str(tmp_path / "found.json")])
    simulated_batches.main()
    assert "full 2.9" in capsys.readouterr().out
    [found] = json.loads((tmp_path / "found.json").read_text())["simulated"]
    assert found["full_times_faster"] == pytest.approx(6 / 2, rel=0.05)
    assert found["shrinking_times_faster"] < 1.3
    assert found["full_share"] > 0.95
    assert found["break_even_layers"] > 5
