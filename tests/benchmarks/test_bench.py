import dataclasses
import importlib.util
import json
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from support.factories import make_rows, write_tsv
from support.report_schema import report_schema

import fastbert.benchmarks
from fastbert.benchmarks import SCENARIOS, BenchOptions, bench, evaluate, run_bench
from fastbert.benchmarks.baselines import onnxruntime as onnxruntime_baseline
from fastbert.benchmarks.machine import environment
from fastbert.benchmarks.report import results
from fastbert.benchmarks.report.tables import bench_tables, check_output, write_report
from fastbert.export import ExportOptions, export_bundle
from fastbert.runtime.errors import DataError, EngineError, UsageError

SCHEMA = Path(fastbert.benchmarks.__file__).parent / "report/report.schema.json"
REPORTS = Path(__file__).resolve().parents[2] / "studies/reports"


def systems(found):
    return {system.name: system for system in found.systems}


def quick(bundle, data, **options):
    return run_bench(
        BenchOptions(
            bundle=bundle, data=data, **{"speeds": (0.0,), "baselines": (), "threads": 1, "max_seconds": 5, **options}
        )
    )


@pytest.fixture(autouse=True)
def _brief(brief):
    """Footprints are in `report` alone."""


def test_accuracy_layers_and_flops_are_those_of_evaluate(report, bundle, data):
    for result in evaluate(bundle, data, [0.0, 0.4, 1.0]):
        system = systems(report.single_stream)[f"fp32 speed {result.speed:g}"]
        assert system.speed == result.speed
        for name in ("accuracy", "mean_layers", "layer_speedup", "flops_speedup"):
            assert getattr(system, name) == pytest.approx(getattr(result, name))
        assert {int(layer): count for layer, count in system.exit_histogram.items()} == result.exit_histogram
        torch = systems(report.single_stream)[f"pytorch-early-exit speed {result.speed:g}"]
        assert torch.exit_histogram == system.exit_histogram


def test_whole_models_answer_as_the_chain_at_speed_0(report):
    found = systems(report.single_stream)
    whole = found["onnxruntime"]
    assert (whole.accuracy, whole.mean_layers, whole.speed) == (found["fp32 speed 0"].accuracy, 3.0, None)
    assert abs(found["onnxruntime-int8"].accuracy - found["onnxruntime"].accuracy) < 0.1


def test_figures_follow_from_each_other(report):
    found = systems(report.single_stream)
    one, base = found["fp32 speed 1"], found["onnxruntime"]
    assert one.times_faster["onnxruntime"] == pytest.approx(base.latency.mean_ms / one.latency.mean_ms)
    assert one.measured_speedup == one.times_faster["onnxruntime"]
    assert one.efficiency == pytest.approx(one.measured_speedup / one.layer_speedup)
    assert one.attainable_speedup == pytest.approx(3.0)  # every row exits after the first of three layers
    assert found["fp32 speed 0"].attainable_speedup == pytest.approx(1.0)
    assert "onnxruntime" not in base.times_faster
    assert report.single_stream.accuracy_reference == "onnxruntime"
    change = one.accuracy_change
    assert change.change == pytest.approx(one.accuracy - base.accuracy)
    assert change.gained - change.lost == round(60 * change.change)
    assert change.low <= change.change <= change.high
    assert sum(depth.rows * depth.mean_layers for depth in one.classes) == pytest.approx(60 * one.mean_layers)
    assert base.classes == ()
    for system in found.values():
        assert system.latency_with_tokenization.mean_ms > system.latency.mean_ms
        assert system.latency.n == pytest.approx(report.single_stream.passes * report.single_stream.rows)
        assert sum(system.exit_histogram.values()) == (60 if system.speed is not None else 0)
    offline = systems(report.offline)
    faster = offline["fp32 speed 1"].rows_per_s / offline["onnxruntime"].rows_per_s
    assert offline["fp32 speed 1"].times_faster["onnxruntime"] == pytest.approx(faster)
    assert offline["fp32 speed 1"].mean_layers == pytest.approx(one.mean_layers)


def test_systems_report_their_settings(report):
    families = {family.name: family for family in report.families}
    chain = families["fp32"]
    assert (chain.reference, chain.same_precision) == ("onnxruntime", True)
    assert chain.overhead_at_speed_0 is not None
    assert {box.layer for box in chain.exit_latency} <= {0, 1, 2}
    assert families["onnxruntime"].settings["provider"] == "CPUExecutionProvider"
    assert {family.settings["threads"] for family in families.values()} == {1}
    assert chain.footprint.load_s > 0
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert 10e6 < chain.footprint.peak_memory_bytes < own_peak / 2  # of a fresh process, without PyTorch


def test_a_rate_that_cannot_be_held_is_saturated_and_ends(report):
    for system in report.server.systems:
        low, high = system.points
        assert not low.saturated
        assert low.completed == low.requests
        assert high.saturated
        assert high.completed < high.requests
    assert report.server.elapsed_s < 60
    codes = {warning.code for warning in report.warnings}
    assert "saturated" in codes


def test_too_few_rows_for_a_percentile_are_a_warning(report):
    assert systems(report.single_stream)["fp32 speed 0"].latency.p99_ms is None
    assert any(w.code == "too_few_samples" and "p95, p99" in w.message for w in report.warnings)


def test_the_report_is_what_its_schema_says(document):
    stored = json.loads(SCHEMA.read_text())
    assert stored == report_schema(), "run python tests/support/report_schema.py > benchmarks/report/report.schema.json"
    plain = json.loads(json.dumps(document))
    jsonschema.validate(plain, stored)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**plain, "status": 3}, stored)


@pytest.mark.parametrize("path", sorted(REPORTS.glob("**/report.json")), ids=lambda path: path.parent.as_posix()[-12:])
def test_reports_of_earlier_versions_fit_the_schema(path):
    stored = json.loads(path.read_text())
    assert stored["schema"] == results.SCHEMA
    jsonschema.validate(stored, json.loads(SCHEMA.read_text()))


def test_every_scenario_has_its_class():
    assert tuple(bench._SCENARIOS) == SCENARIOS


def test_fields_follow_what_runs(bundle, checkpoint_dir, data, tmp_path):
    """The same bench with everything changed: each field that describes it changes too."""

    def run(**options):
        return quick(bundle, **{"data": data, "speeds": (1.0,), "checkpoint": checkpoint_dir, **options}).as_dict()

    other = write_tsv(tmp_path / "other.tsv", make_rows(30, seed=5), labels=False)
    baselines = ("onnxruntime", "pytorch")
    one = run(baselines=baselines, scenarios=("single-stream",), max_seconds=0.5)
    two = run(
        data=other, rivals=data, threads=2, seed=7, max_rows=20, batch_size=8, baselines=baselines, max_seconds=1,
        scenarios=("single-stream", "offline", "server"), rates=(15.0,),
    )  # fmt: skip
    fixed = {"device", "tokens_max", "row_order", "tokenization", "memory_and_load"}  # the longest rows are cut in both
    for name, value in one["method"].items():
        assert (value == two["method"][name]) is (name in fixed), name
    assert two["method"]["scenarios"] == ["single-stream", "offline", "server"]
    method = two["method"]
    assert (method["threads"], method["seed"], method["data"], method["labelled"]) == (2, 7, "other.tsv", False)
    assert (method["rows_in_file"], method["rows_drawn"]) == (30, 20)
    assert [family["settings"]["threads"] for family in one["families"]] == [1, 1, 1]
    # one call at a time on all threads; or as many calls as there are threads, each on one
    stream, offline, server = (two[name] for name in ("single_stream", "offline", "server"))
    together, apart = (2, 1), (1, 2)
    for scenario, chain, whole in ((stream, together, together), (offline, apart, together), (server, apart, apart)):
        found = {name: (ran["threads"], ran["calls"]) for name, ran in scenario["settings"].items()}
        assert found == {"fp32": chain, "onnxruntime": whole, "pytorch": whole}
    assert (offline["batch_size"], offline["threads"], server["workers"], server["rates_per_s"]) == (8, 2, 2, (15.0,))
    assert (one["offline"], one["server"]) == (None, None)


def test_fields_name_the_bundle_and_the_variant_that_ran(checkpoint, bundle, data, tmp_path):
    export_bundle(checkpoint, tmp_path / "b", ExportOptions(precisions=("fp32", "int8")))
    one, two = quick(bundle, data).as_dict(), quick(tmp_path / "b", data, variants=("int8",)).as_dict()
    assert one["model"]["bundle_sha256"] != two["model"]["bundle_sha256"]
    assert two["model"]["bundle"].endswith("/b")
    three = quick(tmp_path / "b", data, speeds=(0.0, 0.4), baselines=("onnxruntime",)).as_dict()
    compared = {one["name"]: one for one in three["families"]}
    assert (compared["int8"]["reference"], compared["int8"]["same_precision"]) == ("onnxruntime", False)
    for family, present in (("fp32", True), ("int8", False)):  # in another precision they would count its effect
        assert (compared[family]["overhead_at_speed_0"] is not None) is present
        for one in three["single_stream"]["systems"]:
            if one["family"] == family:
                assert one["measured_speedup"] is not None
                assert (one["efficiency"] is not None, one["attainable_speedup"] is not None) == (present, present)
    described = [(family["name"], family["title"], family["precision"]) for family in two["families"]]
    assert described == [("int8", "fastbert int8", "int8")]
    assert {system["family"] for system in two["single_stream"]["systems"]} == {"int8"}


def test_the_environment_is_that_of_the_process(monkeypatch):
    monkeypatch.setattr(environment, "usable_cores", lambda: 3)
    monkeypatch.setattr(environment, "describe_device", lambda: {"gpu": "fake"})
    for program, command in (
        ("/bin/fastbert", "fastbert bench 'a b'"),
        ("/here/studies/depths.py", "python -m studies.depths bench 'a b'"),
        ("/here/other.py", "/here/other.py bench 'a b'"),
    ):
        monkeypatch.setattr(sys, "argv", [program, "bench", "a b"])
        assert environment.describe_environment()["command"] == command
    found = environment.describe_environment()
    assert (found["cores_usable"], found["device"]) == (3, {})
    assert environment.describe_environment("cuda")["device"] == {"gpu": "fake"}
    assert found["packages"]["numpy"] == np.__version__


def test_a_baseline_that_cannot_be_loaded_again_keeps_what_it_measured(bundle, data, monkeypatch):
    load = onnxruntime_baseline.load

    def once(sources, budget, **arguments):
        if budget.calls > 1:
            raise EngineError("no memory")
        return load(sources, budget, **arguments)

    monkeypatch.setattr(onnxruntime_baseline, "load", once)
    report = quick(
        bundle, data, threads=2, baselines=("onnxruntime",), scenarios=("single-stream", "server"), rates=(20.0,),
        max_seconds=0.5,
    )  # fmt: skip
    assert "onnxruntime" in systems(report.single_stream)
    assert list(systems(report.server)) == ["fp32 speed 0"]
    assert [(skipped.name, skipped.reason) for skipped in report.skipped] == [("onnxruntime", "no memory")]
    assert "onnxruntime" in {family.name for family in report.families}


def test_the_report_says_how_it_was_made(document, data):
    assert document["environment"]["packages"]["onnxruntime"]
    assert len(document["model"]["bundle_sha256"]) == len(document["method"]["data_sha256"]) == 64
    assert (document["method"]["seed"], document["method"]["threads"]) == (42, 1)
    assert "with the bundle's tokenizer" in document["single_stream"]["timed"]
    assert document["status"] == "complete"
    assert [table.row_count for table in bench_tables(document)][-1] == len(document["single_stream"]["systems"])


def test_a_file_or_a_folder_is_written_whole(document, tmp_path, one_plot):
    assert write_report(tmp_path / "one" / "r.json", document) == [tmp_path / "one" / "r.json"]
    written = write_report(tmp_path / "two", document)
    assert [path.name for path in written] == ["report.json", "report.html"]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "r.json", "report.html", "report.json",
    ]  # fmt: skip


def test_an_output_that_cannot_be_written_is_refused_early(tmp_path):
    (tmp_path / "r.json").mkdir()
    (tmp_path / "file").write_text("")
    for name, message in (("r.json", "is a directory"), ("file", "is a file")):
        with pytest.raises(UsageError, match=message):
            check_output(tmp_path / name)
    check_output(tmp_path / "new")
    check_output(tmp_path / "new.json")


def test_a_page_that_fails_leaves_the_figures(tmp_path, monkeypatch):
    monkeypatch.setattr("fastbert.benchmarks.report.page.render_page", lambda document: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(tmp_path, {"a": 1})
    assert json.loads((tmp_path / "report.json").read_text()) == {"a": 1}


def test_rivals_are_timed_on_the_same_rows(bundle, data, tmp_path, one_plot):
    train = write_tsv(tmp_path / "train.tsv", make_rows(200, seed=9))
    report = quick(bundle, data, speeds=(0.0, 0.4), rivals=train, rival_bundles=[bundle], max_seconds=1)
    own, tfidf = (one for one in report.single_stream.rivals if one.name != "fasttext")
    full = systems(report.single_stream)["fp32 speed 0"]
    assert (own.name, tfidf.name) == ("bundle fp32", "tfidf")
    assert (own.accuracy, own.accuracy_change.gained, own.accuracy_change.lost) == (full.accuracy, 0, 0)
    against = tfidf.accuracy_against["fp32 speed 0"]
    assert against.change == pytest.approx(tfidf.accuracy - full.accuracy)
    assert (own.accuracy_against["fp32 speed 0"].gained, own.accuracy_against["fp32 speed 0"].lost) == (0, 0)
    assert own.latency.n == tfidf.latency.n == full.latency.n
    assert own.latency_with_tokenization.mean_ms > own.latency.mean_ms
    assert tfidf.latency_with_tokenization.mean_ms == tfidf.latency.mean_ms
    assert tfidf.accuracy > full.accuracy  # of random weights
    assert "tfidf" in report.verdict.beaten_by or tfidf.latency.p50_ms > full.latency.p50_ms
    assert report.method["rivals"] == "train.tsv"
    assert len(report.method["rivals_sha256"]) == 64
    timed = {row.text for row in make_rows(60, seed=3)}
    seen = timed & {row.text for row in make_rows(200, seed=9)}  # short texts, such as the empty one
    assert report.method["rivals_timed_rows"] == sum(row.text in seen for row in make_rows(60, seed=3))
    files = write_report(tmp_path / "out", report.as_dict())
    assert 'id="rivals"' in files[1].read_text()
    jsonschema.validate(json.loads(files[0].read_text()), json.loads(SCHEMA.read_text()))
    assert bench_tables(report.as_dict())[-1].row_count == 2 + len(report.single_stream.rivals)


def test_without_labels_there_is_no_accuracy(bundle, tmp_path):
    report = quick(bundle, write_tsv(tmp_path / "d.tsv", make_rows(12), labels=False), speeds=(0.5,))
    (system,) = report.single_stream.systems
    assert (system.accuracy, system.macro_f1, system.measured_speedup, system.efficiency) == (None, None, None, None)
    assert "ms per text" in report.verdict.text
    write_report(tmp_path / "out", report.as_dict())


def test_rows_are_drawn_in_a_seeded_order(bundle, data):
    one, two, other = (quick(bundle, data, max_rows=20, seed=seed) for seed in (1, 1, 2))
    assert one.single_stream.rows == 20
    assert one.method["tokens_mean"] == two.method["tokens_mean"] != other.method["tokens_mean"]


def test_if_some_rows_lack_a_label_accuracy_is_not_reported(bundle, tmp_path, caplog):
    rows = [dataclasses.replace(row, label=row.label if number else "") for number, row in enumerate(make_rows(12))]
    report = quick(bundle, write_tsv(tmp_path / "d.tsv", rows))
    assert report.method["labelled"] is False
    assert "1 of 12 rows have no label, so accuracy is not shown" in caplog.text


def test_a_label_that_the_bundle_does_not_know_is_refused(bundle, tmp_path):
    rows = [dataclasses.replace(row, label="other") for row in make_rows(5)]
    with pytest.raises(DataError, match="'other'"):
        quick(bundle, write_tsv(tmp_path / "d.tsv", rows))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"baselines": ("tensorflow",)},
            UsageError,
            "`baselines`: 'tensorflow' is unknown; use onnxruntime, onnxruntime-int8",
        ),
        ({"baselines": ("pytorch",)}, UsageError, "needs the checkpoint.*set `checkpoint`"),
        (
            {"scenarios": ("burst",)},
            UsageError,
            "`scenarios`: 'burst' is unknown; use single-stream, offline, server",
        ),
        ({"variants": ("int4",)}, UsageError, "'int4'.*: fp32 for cpu"),
        (
            {"rivals": Path("t.tsv"), "scenarios": ("offline",)},
            UsageError,
            "`rivals` .* single-stream, which `scenarios`",
        ),
        ({"rates": (0.0,), "scenarios": ("server",)}, UsageError, "`rates` has 0; a rate is a finite number"),
        ({"rates": (float("nan"),)}, UsageError, "`rates` has nan"),
        ({"percentiles": (42,)}, UsageError, "`percentiles` has 42; use 50"),
        ({"percentiles": (90.5,)}, UsageError, "`percentiles` has 90.5"),
        ({"speeds": (2.0,)}, UsageError, "from 0"),
        ({"max_seconds": 0}, UsageError, "`max_seconds` is 0"),
        ({"max_seconds": float("inf")}, UsageError, "`max_seconds` is inf; it must be a finite number"),
        ({"seed": -1}, UsageError, "`seed` is -1"),
        ({"percentiles": (50, 99)}, DataError, "`percentiles` has 99, which needs 500 rows; 60 of the 60 rows"),
        ({"percentiles": (90,), "max_rows": 20}, DataError, "raise `max_rows` above 20"),
        ({"device": "tpu"}, UsageError, "'tpu'"),
        ({"cuda_graphs": True}, UsageError, "`cuda_graphs` needs a GPU"),
        ({"cuda_graphs": True, "device": "cuda", "threads": 2}, UsageError, "needs `threads` 1"),
        ({"cuda_graphs": True, "device": "cuda", "threads": 1, "scenarios": ("server",)}, UsageError, "single-stream"),
    ],
)
def test_options_that_cannot_work_are_refused(bundle, data, options, error, message):
    with pytest.raises(error, match=message):
        quick(bundle, data, **options)


def test_a_baseline_that_is_not_installed_is_skipped_with_the_reason(bundle, data, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name))
    report = quick(bundle, data, baselines=("openvino", "onnxruntime"))
    (skipped,) = report.skipped
    assert (skipped.name, "pip install 'fastbert-deploy[openvino]'" in skipped.reason) == ("openvino", True)
    assert any(warning.code == "skipped" and "openvino" in warning.message for warning in report.warnings)
    assert "onnxruntime" in systems(report.single_stream)


def test_all_baselines_without_a_checkpoint_skip_those_that_need_one(bundle, data):
    report = quick(bundle, data, baselines=("all",), max_rows=10)
    reasons = {skipped.name: skipped.reason for skipped in report.skipped}
    assert "`checkpoint`" in reasons["pytorch"]
    assert "onnxruntime-int8" in systems(report.single_stream)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_bench_keeps_what_it_measured(bundle, data, monkeypatch, name):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    # The second scenario never ends, so the first one is measured for sure.
    running = threading.Event()

    def endless(*_, **__):
        running.set()
        for _ in range(600):
            time.sleep(0.1)

    monkeypatch.setattr(bench.Offline, "run", endless)

    def stop():
        running.wait(60)
        signal.pthread_kill(threading.main_thread().ident, getattr(signal, name))

    killer = threading.Thread(target=stop)
    killer.start()
    report = quick(bundle, data, scenarios=("single-stream", "offline", "server"))
    killer.join()
    assert (report.status, report.interrupted_by) == ("incomplete", name)
    assert report.single_stream.rows == 60
    assert (report.offline, report.server) == (None, None)
    assert report.warnings[0].code == "incomplete"
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_the_command_line_writes_an_interrupted_report_and_exits_130(bundle, data, tmp_path):
    output = tmp_path / "report.json"
    command = [
        sys.executable, "-m", "fastbert.cli", "bench", bundle, "--data", data, "--speed", "0", "--baseline", "none",
        "--threads", "1", "--scenario", "single-stream,server", "--rate", "5,6,7,8,9", "--output", output,
    ]  # fmt: skip
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if b"single-stream: pass" in line:  # a pass is done
            process.send_signal(signal.SIGTERM)
            break
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"SIGTERM stopped the bench" in err
    document = json.loads(output.read_text())
    assert document["status"] == "incomplete"
    assert document["single_stream"]["rows"] == 60
