import json

import numpy as np
import pytest
from support.factories import LABELS, make_rows, write_tsv

from fastbert.benchmarks.classes import ClassDepth
from fastbert.benchmarks.evaluation import ExitTable, SpeedResult, evaluate, evaluate_speed
from fastbert.benchmarks.report.tables import evaluation_notes, evaluation_tables
from fastbert.benchmarks.statistics.paired import PairedDifference
from fastbert.export import ExportOptions, export_bundle
from fastbert.runtime import Classifier
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


def test_a_row_exits_strictly_below_the_speed_or_at_the_last_exit():
    uncertainty = np.array([[0.5, 0.9], [0.25, 0.9]], np.float32)
    assert exit_positions(uncertainty, 0.5).tolist() == [1, 0]


@pytest.mark.parametrize("speed", [2, -1, float("nan"), "fast"])
def test_speeds_are_checked_before_the_work(tmp_path, speed):
    with pytest.raises(UsageError, match="from 0"):
        evaluate(tmp_path / "nowhere", tmp_path / "nowhere.tsv", [0.5, speed])


def test_operating_points_are_of_bundles_only(checkpoint_dir, tmp_path):
    data = write_tsv(tmp_path / "d.tsv", make_rows(5))
    with pytest.raises(UsageError, match="Only bundles have operating points, and .*model has no manifest.json"):
        evaluate(checkpoint_dir, data, [0.0, "balanced"])


def test_bundle_and_checkpoint_agree_with_the_chain(bundle, checkpoint_dir, classifier, tmp_path):
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
    with pytest.raises(DataError, match="the label is missing"):
        evaluate(bundle, write_tsv(tmp_path / "d.tsv", make_rows(5), labels=False), [0.0])


def test_a_variant_of_the_bundle_is_evaluated(checkpoint, tmp_path):
    export_bundle(checkpoint, tmp_path / "b", ExportOptions(precisions=("fp32", "int8")))
    rows = make_rows(50, seed=3)
    data = write_tsv(tmp_path / "d.tsv", rows)
    (result,) = evaluate(tmp_path / "b", data, [0.4], variant="int8", threads=1)
    int8 = Classifier.load(tmp_path / "b", variant="int8", threads=1)
    predictions = int8.predict([row.text for row in rows], speed=0.4)
    assert result.exit_histogram == {
        layer: sum(prediction.exit_layer == layer for prediction in predictions) for layer in range(3)
    }
    right = [prediction.label == row.label for prediction, row in zip(predictions, rows, strict=True)]
    assert result.accuracy == pytest.approx(np.mean(right))
    with pytest.raises(UsageError, match="'int4'"):
        evaluate(tmp_path / "b", data, [0.4], variant="int4")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "int8"}, "`variant` is for a bundle; .*model is not a bundle: it has no manifest.json"),
        ({"threads": 2, "device": "cuda"}, "`device` and `threads` are for a bundle"),
        ({"variant": "int8", "threads": 2, "device": "tensorrt"}, "`device` and `variant` and `threads` are for"),
    ],
)
def test_options_that_a_checkpoint_lacks_are_refused(checkpoint_dir, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        evaluate(checkpoint_dir, write_tsv(tmp_path / "d.tsv", make_rows(5)), [0.0], **options)


def test_a_checkpoint_may_be_told_its_only_device(checkpoint_dir, tmp_path):
    data = write_tsv(tmp_path / "d.tsv", make_rows(5))
    assert evaluate(checkpoint_dir, data, [0.0], device="cpu") == evaluate(checkpoint_dir, data, [0.0])


def result(speed, depths):
    classes = tuple(ClassDepth(name, 50, depth, 0.25) for name, depth in depths.items() if depth is not None)
    change = PairedDifference(-0.003, -0.0091, 0.0032, 4, 7, 0.5)
    return SpeedResult(speed, 100, 0.9, 0.9, 3.0, 2.0, 1e6, 2.0, {0: 40, 1: 60}, depths, change, classes)


def test_a_change_of_accuracy_has_its_interval():
    speeds, *_ = evaluation_tables([result(0.0, {"a": 1.0}), result(0.1, {"a": 1.0})])
    assert list(speeds.columns[2].cells) == ["-", "-0.3 [-0.9, +0.3]"]  # speed 0 is full depth


def test_of_many_classes_the_table_has_those_that_exit_latest():
    depths = {f"intent {number}": number / 10 for number in range(77)}
    depths["intent 5"] = None  # the file has no such row
    _, classes, exits = evaluation_tables([result(0.1, depths), result(0.5, depths)])
    assert "; 10 of 77 classes: those that exit latest (all classes: JSON output)" in classes.title
    names, first, second = (list(column.cells) for column in classes.columns)
    assert names == [f"intent {number}" for number in range(76, 66, -1)]
    assert first == second == [f"{number / 10:.2f}, 25 %" for number in range(76, 66, -1)]
    assert list(exits.columns[1].cells) == ["40", "40"]


def test_a_few_classes_are_all_in_the_table_and_one_without_rows_comes_last():
    found = [result(0.1, {"none": None, "quick": 1.0, "slow": 2.0})]
    _, classes, _ = evaluation_tables(found)
    assert classes.title == "mean layers by class, and the share of the class that runs all layers"
    cells = [list(column.cells) for column in classes.columns]
    assert cells == [["slow", "quick", "none"], ["2.00, 25 %", "1.00, 25 %", "-"]]
    (note,) = evaluation_notes(found)
    assert note.startswith("At speed 0.1, the saving depends on the mix of classes: rows of the class slow")


def test_the_command_evaluates_a_variant(run_cli, bundle, checkpoint_dir, tmp_path):
    data = write_tsv(tmp_path / "d.tsv", make_rows(20))
    code, out, _ = run_cli("evaluate", bundle, "--data", data, "--speed", "0.4", "--variant", "fp32", "--json")
    (found,) = json.loads(out)
    assert (code, found["samples"]) == (0, 20)
    assert found["accuracy"] == evaluate(bundle, data, [0.4])[0].accuracy
    code, out, err = run_cli("evaluate", checkpoint_dir, "--data", data, "--variant", "fp32")
    assert (code, out) == (2, "")
    assert "is for a bundle" in err
