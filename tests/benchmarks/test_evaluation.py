import numpy as np
import pytest
from support.factories import LABELS, make_rows, write_tsv

from fastbert.benchmarks.evaluation import ExitTable, evaluate, evaluate_speed, parse_speeds
from fastbert.runtime.errors import DataError, UsageError
from fastbert.runtime.exit_rule import exit_positions

FLOPS = {"layer": [0, 100, 0], "exits": [[10, 0, 0]] * 2}


def test_a_table_by_hand():
    logits = np.array([[[2, 0], [0, 2]], [[0, 2], [0, 2]], [[2, 0], [2, 0]]], np.float32)
    uncertainty = np.array([[0.1, 0.1], [0.9, 0.9], [0.3, 0.1]], np.float32)
    table = ExitTable(logits, uncertainty, np.array([1, 1, 1]), np.array([1, 1, 0]), ("a", "b"), (0, 1), 2, FLOPS)
    result = evaluate_speed(table, 0.2)
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.exit_histogram == {0: 1, 1: 2}
    assert result.mean_layers == pytest.approx(5 / 3)
    assert result.class_mean_layers == {"a": 2.0, "b": 1.5}
    assert result.flops_per_sample == pytest.approx((110 + 220 + 220) / 3)
    assert result.flops_speedup == pytest.approx(210 * 3 / 550)
    assert evaluate_speed(table, 0.0).accuracy == 1.0


def test_below_is_strict_and_the_last_exit_takes_all():
    uncertainty = np.array([[0.5, 0.9], [0.25, 0.9]], np.float32)
    assert exit_positions(uncertainty, 0.5).tolist() == [1, 0]


def test_speeds_are_parsed_and_checked():
    assert parse_speeds("0, 0.1,1") == [0.0, 0.1, 1.0]
    for text in ("2", "-1", "nan", "fast", "0.1,,0.2", ""):
        with pytest.raises(UsageError, match="from 0"):
            parse_speeds(text)


def test_bundle_and_checkpoint_agree_and_are_what_the_chain_does(bundle, checkpoint_dir, classifier, tmp_path):
    rows = make_rows(50, seed=3)
    data = write_tsv(tmp_path / "d.tsv", rows)
    speeds = [0.0, 0.4, 0.8]
    of_bundle, of_checkpoint = evaluate(bundle, data, speeds), evaluate(checkpoint_dir, data, speeds)
    assert of_bundle == of_checkpoint
    for result in of_bundle:
        predictions = classifier.predict([row.text for row in rows], speed=result.speed)
        right = [prediction.label == row.label for prediction, row in zip(predictions, rows, strict=True)]
        assert result.accuracy == pytest.approx(np.mean(right))
        assert result.mean_layers == pytest.approx(np.mean([prediction.exit_layer + 1 for prediction in predictions]))
        assert set(result.class_mean_layers) == set(LABELS)


def test_unlabelled_data_is_refused(bundle, tmp_path):
    with pytest.raises(DataError, match="no label"):
        evaluate(bundle, write_tsv(tmp_path / "d.tsv", make_rows(5), labels=False), [0.0])
