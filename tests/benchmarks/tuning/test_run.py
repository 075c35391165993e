import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.factories import make_rows, write_tsv
from support.tuning import make_answers

from fastbert import TuneOptions, TuneReport, tune
from fastbert.benchmarks import BenchOptions, bench
from fastbert.benchmarks.evaluation import evaluate
from fastbert.benchmarks.tuning import run as module
from fastbert.benchmarks.tuning.advice import advice
from fastbert.benchmarks.tuning.exits import KEPT, KeptExits
from fastbert.benchmarks.tuning.report import ReplacedPoint
from fastbert.benchmarks.tuning.search import choose
from fastbert.benchmarks.tuning.speeds import Rows
from fastbert.benchmarks.tuning.tables import tune_notes, tune_table
from fastbert.benchmarks.tuning.targets import TARGETS, Target
from fastbert.export.manifest import ManifestWriter
from fastbert.runtime import Classifier
from fastbert.runtime.errors import DataError, UsageError
from fastbert.runtime.manifest import MANIFEST, file_record, read_manifest


def test_a_target_becomes_a_point_that_works(bundle_copy, data):
    options = TuneOptions(data, min_agreement=0.9, name="balanced", threads=1)
    report = tune(bundle_copy, options)
    assert isinstance(report, TuneReport)
    assert (report.reached, report.written, report.replaced, report.guarantee) == (True, "balanced", None, None)
    assert (report.rows, report.deciding_rows, report.measuring_rows, report.measured_apart) == (400, 267, 133, True)
    assert report.full_depth.agreement == 1.0
    point = read_manifest(bundle_copy).operating_points["balanced"]
    assert point.speed == report.chosen.speed > 0
    record = point.record
    assert record["target"] == {"kind": "min_agreement", "value": 0.9}
    assert record["rows"] == {"count": 400, "sha256": file_record(data)["sha256"]}
    assert record["guarantee"] is None
    assert record["measured"]["agreement"] == report.chosen.agreement
    ManifestWriter("export").check(bundle_copy / MANIFEST, json.loads((bundle_copy / MANIFEST).read_text()))
    texts = [row.text for row in make_rows(30, seed=3)]
    classifier = Classifier.load(bundle_copy, threads=1)
    assert classifier.predict(texts, speed="balanced") == classifier.predict(texts, speed=point.speed)
    assert evaluate(bundle_copy, data, ["balanced"]) == evaluate(bundle_copy, data, [point.speed])
    again = tune(bundle_copy, TuneOptions(data, speedup=1.2, name="balanced", threads=1))
    assert (again.computed, again.replaced) == (False, ReplacedPoint(point.speed, "fp32"))
    assert f" written, in place of speed {point.speed:g}. Use it" in tune_notes(again)[-1]
    other = replace(again, replaced=ReplacedPoint(0.5, "int8"))
    assert " written, in place of speed 0.5 of int8. Use it" in tune_notes(other)[-1]


def test_a_guarantee_is_written_with_its_confidence(bundle_copy, unlabelled):
    report = tune(bundle_copy, TuneOptions(unlabelled, min_agreement=0.8, confidence=0.9, name="sure", threads=1))
    assert report.chosen.accuracy is None  # no labels, none needed
    guarantee = read_manifest(bundle_copy).operating_points["sure"].record["guarantee"]
    assert (guarantee["kind"], guarantee["value"], guarantee["confidence"]) == ("min_agreement", 0.8, 0.9)
    assert guarantee["rows"] == report.deciding_rows == 267
    ManifestWriter("export").check(bundle_copy / MANIFEST, json.loads((bundle_copy / MANIFEST).read_text()))


def test_too_few_rows_are_refused_with_the_number_needed(bundle_copy, data):
    for target in ({"max_drop": 0.5}, {"min_agreement": 0.995}):
        with pytest.raises(DataError, match=r"has 400 rows; a guarantee to .* of 0\.95 needs at least 598"):
            tune(bundle_copy, TuneOptions(data, confidence=0.95, **target))
    assert not (bundle_copy / KEPT).exists()  # before the work


def test_rows_that_are_just_enough_all_decide(bundle_copy, data):
    report = tune(bundle_copy, TuneOptions(data, min_agreement=0.99, confidence=0.95, threads=1))
    assert (report.deciding_rows, report.measuring_rows, report.measured_apart) == (400, 400, False)


def test_other_rows_measure(bundle_copy, data, tmp_path):
    test = write_tsv(tmp_path / "test.tsv", make_rows(50, seed=8))
    report = tune(bundle_copy, TuneOptions(data, max_drop=5, test=test, threads=1))
    assert (report.deciding_rows, report.measuring_rows, report.measured_apart) == (400, 50, True)
    (found,) = evaluate(bundle_copy, test, [report.chosen.speed])
    assert report.chosen.accuracy == pytest.approx(found.accuracy)
    assert report.chosen.mean_layers == pytest.approx(found.mean_layers)


def test_the_rows_that_decide_cannot_be_those_that_measure(bundle_copy, data, tmp_path):
    with pytest.raises(UsageError, match="has the same content as `data`"):
        tune(bundle_copy, TuneOptions(data, max_drop=5, test=data))
    assert not (bundle_copy / KEPT).exists()  # before the work
    mixed = write_tsv(tmp_path / "mixed.tsv", [*make_rows(400, seed=11)[:40], *make_rows(60, seed=8)])
    warnings = tune(bundle_copy, TuneOptions(data, max_drop=5, test=mixed, threads=1)).warnings
    assert any(f"rows of {mixed} are also in {data}" in warning for warning in warnings)


@pytest.mark.parametrize("holds", [True, False])
def test_rows_that_miss_the_target_are_named(bundle_copy, data, tmp_path, monkeypatch, holds):
    test = write_tsv(tmp_path / "test.tsv", make_rows(50, seed=8))
    rows, others = make_answers(400, exits=3, flip=0), make_answers(50, exits=3, flip=0 if holds else 0.9)

    def answers(bundle, manifest, variant, read, *arguments, **options):
        return KeptExits((rows if len(read) == 400 else others).exits, computed=True)

    monkeypatch.setattr(module, "exit_answers", answers)
    report = tune(bundle_copy, TuneOptions(data, min_agreement=0.99, test=test))
    assert (report.reached, report.met_when_measured) == (True, holds)
    note = tune_notes(report)[1]
    assert ("miss the target" in note) is ("--confidence" in note.replace("`confidence`", "--confidence")) is not holds
    none = tune(bundle_copy, TuneOptions(data, min_agreement=1, test=test))  # for which there is no guarantee
    assert "confidence" not in tune_notes(none)[1]
    sure = tune(bundle_copy, TuneOptions(data, min_agreement=0.99, confidence=0.9, test=test))
    assert (sure.contradicted, any("miss the guaranteed target" in one for one in sure.warnings)) == (not holds,) * 2
    assert "may by chance" not in tune_notes(sure)[1]


def test_few_rows_are_warned_about(bundle_copy, tmp_path):
    few = write_tsv(tmp_path / "few.tsv", make_rows(40, seed=12))
    warnings = tune(bundle_copy, TuneOptions(few, min_agreement=0.99, threads=1)).warnings
    assert warnings[0].startswith("Only 27 rows decided. With fewer than 100,")


def test_a_target_out_of_reach_writes_nothing(bundle_copy, data):
    before = (bundle_copy / MANIFEST).read_bytes()
    report = tune(bundle_copy, TuneOptions(data, speedup=3.5, name="fast", threads=1))  # of 3 layers
    assert (report.reached, report.written, report.chosen.speed) == (False, None, 1.0)
    assert (bundle_copy / MANIFEST).read_bytes() == before
    assert "The nearest is speed 1: " in report.shortfall
    assert list(tune_table(report).columns[0].cells) == ["full depth", "nearest"]
    assert ", measured on 133 other rows. Nothing was written." in report.shortfall


def test_a_guarantee_out_of_reach_is_not_written(bundle_copy, data, monkeypatch):
    rows = make_answers(400, exits=3)
    wrong = np.where(np.arange(3) < 2, rows.full[:, None] + 1, rows.full[:, None]).astype(np.int32)
    exits = replace(rows.exits, answers=wrong, uncertainty=np.full_like(rows.exits.uncertainty, 1e-6))
    monkeypatch.setattr(module, "exit_answers", lambda *arguments, **options: KeptExits(exits, computed=True))
    report = tune(bundle_copy, TuneOptions(data, min_agreement=0.98, confidence=0.95, name="sure"))
    assert (report.reached, report.guarantee, report.written, report.chosen.speed) == (False, None, None, 0.0)
    assert "No speed of fp32 is sure to give at least 98 % of the rows full depth's answer" in report.shortfall
    assert "The nearest is full depth: 1.00 times fewer layers" in report.shortfall


def test_a_latency_is_timed_on_this_machine(bundle_copy, data):
    report = tune(bundle_copy, TuneOptions(data, max_latency_ms=1000, name="quick", threads=1))
    assert report.chosen.p50_ms > 0
    assert report.target == {"kind": "max_latency_ms", "value": 1000.0, "threads": 1}
    assert read_manifest(bundle_copy).operating_points["quick"].record["measured"]["p50_ms"] == report.chosen.p50_ms


@pytest.mark.parametrize("target", [{"min_agreement": 0.99}, {"max_drop": 0.5}, {"speedup": 1.5}])
@pytest.mark.parametrize("better", [True, False])
def test_the_other_measure_is_named_where_it_saves_notably_more(bundle_copy, data, monkeypatch, target, better):
    rows = make_answers(400, exits=3)
    oracle = (rows.exits.answers != rows.full[:, None]).astype(np.float32)  # certain exactly where it may be
    exits = replace(rows.exits, other=oracle if better else rows.exits.uncertainty)
    monkeypatch.setattr(module, "exit_answers", lambda *arguments, **options: KeptExits(exits, computed=True))
    report = tune(bundle_copy, TuneOptions(data, **target))
    assert report.uncertainty == "entropy"
    found = report.other_measure
    if not better:
        assert found is None
        return
    assert found.name == "margin"
    assert found.command == (
        f"fastbert export MODEL --uncertainty margin --precision fp32 --output {bundle_copy}-margin"
    )
    assert found.measured.agreement == 1.0
    assert found.measured.mean_layers < 1.3
    assert "The measure margin would do better here than entropy: 1." in tune_notes(report)[-1]
    assert ("accuracy" if "max_drop" in target else "the same answer") in tune_notes(report)[-1]


def better_by(rows, count):
    """Return rows whose other measure exits as deep, and is right on so many more rows than the bundle's own."""
    exits = rows.exits
    first = np.arange(len(rows)) < count
    answers = np.repeat(rows.full[:, None], exits.answers.shape[1], axis=1).astype(np.int32)
    answers[first, 0] += 1  # at the first exit these are wrong
    early = np.full_like(exits.uncertainty, 0.5)
    early[:, 0] = np.where(np.arange(len(rows)) < len(rows) // 2, 0.01, 0.9)
    late = early.copy()
    late[:, 0] = 0.91 - early[:, 0]
    return Rows(replace(exits, answers=answers, uncertainty=early, other=late), None, rows.exit_layers)


@pytest.mark.parametrize(("count", "notable"), [(2, False), (20, True)])
def test_a_difference_that_may_be_chance_is_no_reason_for_the_other_measure(bundle, count, notable):
    rows = better_by(make_answers(300), count)  # 2 of 300 rows are more than half a point
    target = Target(TARGETS["speedup"], 1.3)
    assert (advice(bundle, read_manifest(bundle), rows, rows, target, choose(rows, target)) is not None) is notable


def test_an_unwritable_bundle_is_used_and_nothing_is_kept(bundle_copy, data, monkeypatch):
    (bundle_copy / KEPT).write_text("")
    report = tune(bundle_copy, TuneOptions(data, speedup=1.2, threads=1))
    assert report.computed
    assert "cannot be written" in report.kept_problem

    def refuse(directory):
        raise PermissionError(13, "Permission denied", str(directory))

    monkeypatch.setattr("fastbert.benchmarks.tuning.publish.try_to_write", refuse)
    with pytest.raises(UsageError, match="`name` writes the operating point into it"):
        tune(bundle_copy, TuneOptions(data, speedup=1.2, name="a"))


def test_another_variant_or_device_is_named(bundle_copy, data):
    with pytest.raises(UsageError, match="'int4'"):
        tune(bundle_copy, TuneOptions(data, speedup=2, variant="int4"))


@pytest.mark.parametrize(
    ("device", "variant", "flags"),
    [
        ("cpu", "fp32", "--speed fast"),
        ("cpu", "int8", "--speed fast --variant int8"),
        ("cuda", "fp32", "--speed fast --device cuda"),
    ],
)
def test_the_flags_that_use_a_point(tmp_path, device, variant, flags):
    manifest = SimpleNamespace(variant_for=lambda device: SimpleNamespace(name="fp32"))
    options = TuneOptions(tmp_path, speedup=2, device=device)
    assert module._Tuning(tmp_path, options, manifest, SimpleNamespace(name=variant))._flags("fast") == flags


# The command


def test_the_command_prints_what_it_found(run_cli, bundle_copy, data):
    arguments = ("tune", bundle_copy, "--data", data, "--min-agreement", 0.8, "--confidence", 0.95, "--name", "sure")
    code, out, _ = run_cli(*arguments, "--threads", 1)
    assert code == 0
    for words in (
        "133 rows that had no part in the choice",
        "full depth",
        "95 % interval",
        "sure",
        "267 of the 400 rows",
    ):
        assert words in out, words
    text = " ".join(out.split())
    assert "Guaranteed with 95 % confidence: give at least 80 % of the rows full depth's answer." in text
    assert "It does not promise that they are right" in text
    assert f"{bundle_copy}: operating point sure written. Use it with --speed sure" in text
    code, out, _ = run_cli(*arguments, "--json")
    document = json.loads(out)
    assert (code, document["computed"], document["written"]) == (0, False, "sure")
    assert document["guarantee"]["test"] == "binomial"


def test_the_command_warns_and_fails_where_a_target_is_out_of_reach(run_cli, bundle_copy, tmp_path):
    data = tmp_path / "d.tsv"
    data.write_text("text\n" + "good film\n" * 20)
    code, out, err = run_cli("tune", bundle_copy, "--data", data, "--speedup", 3.5, "--name", "x", "--threads", 1)
    assert code == 1
    assert "accuracy" not in out
    assert f"Warning: 19 of the 20 rows of {data} repeat another one" in err
    assert "Error: No speed of fp32 can run at least 3.5 times fewer layers on" in err
    assert "Nothing was written" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "exactly one target, and none was given. Name one of --max-drop, --min-agreement, --speedup"),
        (["--max-drop", 1, "--speedup", 2], 2, "--max-drop and --speedup were given"),
        (["--speedup", 2, "--name", "a b"], 2, "--name is 'a b'"),
        (["--max-drop", 0.5, "--confidence", 0.95], 1, "needs at least 598"),
    ],
)
def test_errors_name_flags(run_cli, bundle_copy, data, arguments, code, message):
    found, out, err = run_cli("tune", bundle_copy, "--data", data, *arguments)
    assert (found, out) == (code, "")
    assert message in err


def test_a_second_call_loads_no_engine_and_no_framework(bundle_copy, data):
    tune(bundle_copy, TuneOptions(data, speedup=1.2, threads=1))
    heavy = {"torch", "transformers", "onnx", "onnxruntime", "sklearn", "datasets", "jsonschema", "pyarrow", "scipy"}
    script = (
        "import sys; sys.argv = ['fastbert', *sys.argv[1:]]\n"
        "from fastbert.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    arguments = ["tune", bundle_copy, "--data", data, "--max-drop", "90", "--name", "balanced"]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_the_bench_takes_the_name_of_a_point(bundle_copy, data):
    point = tune(bundle_copy, TuneOptions(data, min_agreement=0.9, name="balanced", threads=1)).chosen.speed
    manifest = read_manifest(bundle_copy)
    options = BenchOptions(bundle_copy, data, ("balanced", 0.0, point))
    found = bench._with_numbers(options, manifest)
    assert (found.speeds, found.variants) == ((point, 0.0), ["fp32"])
    plain = BenchOptions(bundle_copy, data, (0.0,))
    assert bench._with_numbers(plain, manifest) is plain
    with pytest.raises(UsageError, match="'fast', and the bundle has no operating point of that name: it has balanced"):
        bench._with_numbers(replace(options, speeds=("fast",)), manifest)
    report = bench.run_bench(replace(options, baselines=(), threads=1, max_rows=8, max_seconds=0.1))
    assert [system.speed for system in report.single_stream.systems] == [point, 0.0]


def test_the_bench_takes_points_of_two_variants(tmp_path, monkeypatch):
    speeds = {("quick", "int8"): 0.7, ("exact", "fp32"): 0.1, (0.0, "int8"): 0.0, (0.0, "fp32"): 0.0}
    points = {name: SimpleNamespace(variant=variant) for name, variant in speeds if name}
    manifest = SimpleNamespace(
        operating_points=points, variants=(), variant_for=lambda device, name: SimpleNamespace(name=name)
    )
    monkeypatch.setattr(bench, "named_speed", lambda manifest, variant, speed: speeds[speed, variant.name])
    options = BenchOptions(tmp_path, tmp_path, ("quick", "exact", 0.0))
    found = bench._with_numbers(options, manifest)
    assert (found.speeds, found.variants) == ((0.7, 0.1, 0.0), ["int8", "fp32"])
    with pytest.raises(KeyError):  # a variant that was named must have every point
        bench._with_numbers(replace(options, variants=["int8"]), manifest)
