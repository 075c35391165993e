import dataclasses

import pytest
from conftest import make_rows, write_tsv

from fastbert.benchmarks.report import bench_table, write_json
from fastbert.benchmarks.single_stream import run_single_stream
from fastbert.runtime.errors import UsageError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tsv(tmp_path_factory.mktemp("bench") / "d.tsv", make_rows(60, seed=3))


@pytest.fixture(scope="module")
def report(bundle, checkpoint_dir, data):
    return run_single_stream(
        bundle,
        data,
        speeds=[0.0, 0.4, 1.0],
        checkpoint=checkpoint_dir,
        baselines=("onnxruntime", "pytorch"),
        threads=1,
    )


def test_accuracy_and_layers_are_those_of_evaluate(report, bundle, data):
    from fastbert.benchmarks.evaluate import evaluate

    expected = evaluate(bundle, data, [0.0, 0.4, 1.0])
    for system, result in zip(report.systems, expected, strict=False):
        assert system.speed == result.speed
        assert system.accuracy == pytest.approx(result.accuracy)
        assert system.mean_layers == pytest.approx(result.mean_layers)
        assert system.layer_speedup == pytest.approx(result.layer_speedup)


def test_baselines_answer_as_the_whole_model(report):
    full = report.systems[0]
    for baseline in report.systems[3:]:
        assert (baseline.accuracy, baseline.mean_layers, baseline.speed) == (full.accuracy, 3.0, None)


def test_times_faster_is_the_ratio_of_mean_latencies(report):
    by_name = {system.name: system for system in report.systems}
    assert set(by_name) == {"speed 0", "speed 0.4", "speed 1", "onnxruntime", "pytorch"}
    one, base = by_name["speed 1"], by_name["onnxruntime"]
    assert one.times_faster["onnxruntime"] == pytest.approx(base.latency.mean_ms / one.latency.mean_ms)
    assert "onnxruntime" not in base.times_faster


def test_the_report_says_how_it_was_made(report, tmp_path):
    document = report.as_dict()
    assert document["environment"]["packages"]["onnxruntime"]
    assert len(document["bundle_sha256"]) == 64
    assert "tokenization is not in it" in document["timed"]
    assert any("p99" in note for note in report.notes)
    write_json(tmp_path / "sub" / "report.json", document)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["report.json"]
    assert bench_table(report).row_count == 5


def test_without_labels_there_is_no_accuracy(bundle, tmp_path):
    data = write_tsv(tmp_path / "d.tsv", make_rows(12), labels=False)
    report = run_single_stream(bundle, data, speeds=[0.5], baselines=(), threads=1)
    assert report.systems[0].accuracy is None
    assert dataclasses.asdict(report.systems[0])["times_faster"] == {}


def test_rows_are_drawn_in_a_seeded_order(bundle, data):
    one, two = (
        run_single_stream(bundle, data, speeds=[0.0], baselines=(), threads=1, max_rows=20, seed=seed)
        for seed in (1, 1)
    )
    assert one.rows == 20
    assert one.mean_tokens == two.mean_tokens


def test_a_label_that_the_bundle_does_not_know_is_refused(bundle, tmp_path):
    from fastbert.runtime.errors import DataError

    rows = [dataclasses.replace(row, label="other") for row in make_rows(5)]
    with pytest.raises(DataError, match="'other'"):
        run_single_stream(bundle, write_tsv(tmp_path / "d.tsv", rows), speeds=[0.0], threads=1)


def test_unknown_baselines_are_refused(bundle, data):
    with pytest.raises(UsageError, match="onnxruntime, pytorch"):
        run_single_stream(bundle, data, speeds=[0.0], baselines=("tensorflow",))
