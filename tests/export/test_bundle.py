import copy
import json
import signal
import time
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from support.factories import make_checkpoint, make_rows, write_tsv
from support.processes import export_until_killed, forked

from fastbert.checkpoint import save_checkpoint
from fastbert.configuration import ExitHeadConfig
from fastbert.export import Bounds, ExportOptions, export_bundle
from fastbert.export.golden import read_golden
from fastbert.families import FAMILIES
from fastbert.runtime import Classifier
from fastbert.runtime.errors import CheckpointError, OutputExistsError, UsageError, VerificationError
from fastbert.runtime.manifest import file_record, read_manifest
from fastbert.uncertainty import uncertainty

HEADS = {
    "paper": ExitHeadConfig(size=16),
    "uer": ExitHeadConfig.uer(size=16),
    "bitvoyage": ExitHeadConfig.bitvoyage(size=16, heads=4),
    "mlp": ExitHeadConfig(kind="mlp", size=16),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_as_pytorch_does(family, tmp_path):
    checkpoint = make_checkpoint(family, seed=1)
    report = export_bundle(checkpoint, tmp_path / "bundle", ExportOptions(verify_data=make_rows(24, seed=2)))
    assert report.verifications[0].problems == []
    assert max(report.verifications[0].largest_logit_difference) <= 1e-4


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
def test_every_head_folds_to_the_same_function(head, tmp_path):
    report = export_bundle(
        make_checkpoint(head=head), tmp_path / "bundle", ExportOptions(verify_data=make_rows(24, seed=2))
    )
    assert max(report.verifications[0].largest_logit_difference) <= 2e-5


def test_pairs_are_tokenized_and_answered_as_in_pytorch(checkpoint, tmp_path):
    report = export_bundle(checkpoint, tmp_path / "bundle", ExportOptions(verify_data=make_rows(20, pairs=True)))
    assert report.verifications[0].problems == []
    golden = read_golden(tmp_path / "bundle" / "golden.npz")
    assert golden.token_type_ids.max() == 1


def test_a_stage_has_no_shape_arithmetic(bundle):
    for path in sorted(bundle.glob("fp32/stage_*.onnx")):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        assert {node.op_type for node in model.graph.node}.isdisjoint({"Shape", "Cast", "Identity", "Unsqueeze"})


def test_grouped_stages_give_the_same_answers_at_the_exits_that_remain(checkpoint, bundle, tmp_path):
    export_bundle(checkpoint, tmp_path / "grouped", ExportOptions(layers_per_stage=2))
    grouped, single = Classifier.load(tmp_path / "grouped"), Classifier.load(bundle)
    assert grouped.manifest.exits == (1, 2)
    ids = np.random.default_rng(0).integers(4, 24, (5, 9))
    assert np.allclose(grouped.run_all_exits(ids)[0], single.run_all_exits(ids)[0][:, 1:], atol=1e-5)
    assert set(grouped.run(ids, speed=1.0).exit_layer) == {1}


@pytest.mark.parametrize("layers_per_stage", [0, 4])
def test_layers_per_stage_outside_the_model_is_refused(checkpoint, tmp_path, layers_per_stage):
    with pytest.raises(UsageError, match=r"outside 1\.\.3"):
        export_bundle(checkpoint, tmp_path / "b", ExportOptions(layers_per_stage=layers_per_stage))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_verification_leaves_nothing(checkpoint, tmp_path, monkeypatch):
    from fastbert.export.graphs import encoder

    monkeypatch.setattr(encoder, "MASKED", -1.0)  # padding that is not quite masked
    with pytest.raises(VerificationError, match="logits at exit"):
        export_bundle(checkpoint, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_never_replaces_its_checkpoint(checkpoint_dir):
    with pytest.raises(OutputExistsError, match="no manifest.json"):
        export_bundle(checkpoint_dir, checkpoint_dir, overwrite=True)
    assert (checkpoint_dir / "model.safetensors").is_file()


def test_an_existing_bundle_is_kept_without_overwrite_and_when_the_new_one_fails(checkpoint, tmp_path, monkeypatch):
    output = tmp_path / "b"
    export_bundle(checkpoint, output)
    before = (output / "manifest.json").read_bytes()
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        export_bundle(checkpoint, output)
    with pytest.raises(VerificationError):
        export_bundle(checkpoint, output, ExportOptions(bounds=Bounds(tolerance=1e-12)), overwrite=True)
    assert (output / "manifest.json").read_bytes() == before
    other = make_checkpoint(seed=5)
    export_bundle(other, output, overwrite=True)
    assert (output / "manifest.json").read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_exits_that_were_never_distilled_are_left_out_unless_they_are_named(tmp_path, caplog):
    checkpoint = make_checkpoint()
    checkpoint.model.config.distilled = False
    export_bundle(checkpoint, tmp_path / "b")
    assert "Only the last exit is exported: the others were never distilled" in caplog.text
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert (manifest["distilled"], manifest["exits"]) == (False, [2])
    export_bundle(checkpoint, tmp_path / "b", ExportOptions(exits=[0, 1, 2]), overwrite=True)
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["exits"] == [0, 1, 2]
    assert "layers 0, 1 were never distilled: their answers are random" in caplog.text


def test_without_rows_in_the_checkpoint_the_error_asks_for_some(checkpoint, tmp_path):
    from fastbert.checkpoint import Checkpoint, save_checkpoint

    save_checkpoint(tmp_path / "model", Checkpoint(checkpoint.model, checkpoint.tokenizer))
    with pytest.raises(UsageError, match="`verify_data`"):
        export_bundle(tmp_path / "model", tmp_path / "b")


@pytest.mark.slow
def test_killed_export_leaves_the_old_bundle_or_the_new_one(checkpoint, checkpoint_dir, tmp_path):
    """A process replaces one bundle again and again until it is killed, at several moments."""
    output = tmp_path / "b"
    export_bundle(checkpoint, output)
    for delay_s in (0.0, 0.1, 0.3):
        began = forked.Event()
        writer = forked.Process(target=export_until_killed, args=(checkpoint_dir, output, began))
        writer.start()
        assert began.wait(60)
        time.sleep(0.3 + delay_s)
        writer.kill()
        writer.join(60)
        assert writer.exitcode == -signal.SIGKILL
        assert Classifier.load(output).predict(["good"], speed=0.0)
    export_bundle(checkpoint, output, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]  # the leftovers of the killed writers are gone


def test_a_bundle_has_several_precisions_and_the_chosen_exits(checkpoint, tmp_path):
    options = ExportOptions(
        precisions=["fp32", "int8"],
        exits=[1],
        bounds=Bounds(max_label_flips=0.2),  # random weights: many rows are near a boundary
    )
    report = export_bundle(checkpoint, tmp_path / "b", options)
    assert [outcome.variant for outcome in report.verifications] == ["fp32", "int8"]
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest["exits"] == [1, 2]
    assert manifest["variants"]["int8"]["stages"] == ["int8/stage_00.onnx", "int8/stage_01.onnx"]
    assert manifest["verification"]["int8"]["passed"]
    exact = Classifier.load(tmp_path / "b").run_all_exits([[1, 5, 6, 7, 2]])[0]
    lossy = Classifier.load(tmp_path / "b", variant="int8").run_all_exits([[1, 5, 6, 7, 2]])[0]
    assert 0 < np.abs(exact - lossy).max() < 0.5


def test_too_many_label_flips_in_a_lossy_precision_leave_nothing(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "fastbert.export.int8.rounding.quantize_weight", lambda weight, _: (np.ones(weight.shape, np.int8), weight[0])
    )
    with pytest.raises(VerificationError, match=r"int8: .* answers flip at speed"):
        export_bundle(checkpoint, tmp_path / "b", ExportOptions(precisions=["int8"]))
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_with_nan_weights_is_refused_before_anything_is_written(checkpoint, tmp_path):
    broken = replace(checkpoint, model=copy.deepcopy(checkpoint.model))
    with torch.no_grad():
        broken.model.backbone.encoder.layer[0].intermediate.dense.weight[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="training diverged"):
        export_bundle(broken, tmp_path / "b", ExportOptions(precisions=["fp32", "int8"]))
    assert not (tmp_path / "b").exists()


def test_every_variant_measures_what_the_export_asks_for(checkpoint, every_variant):
    path, report = every_variant
    golden = read_golden(path / "golden.npz")
    expected = uncertainty(torch.from_numpy(golden.logits), "margin").numpy()
    assert golden.uncertainty.tolist() == expected.tolist()
    assert report.verifications[0].problems == []  # fp32: the exits at every speed, in batches and alone
    assert read_manifest(path).raw["uncertainty"] == "margin"
    assert checkpoint.model.config.uncertainty == "entropy"
    for variant in read_manifest(path).variants:
        for stage in variant.stages:
            kinds = {node.op_type for node in onnx.load(path / stage).graph.node}
            assert "TopK" in kinds and "LogSoftmax" not in kinds
    for variant in ("fp32", "int8"):
        classifier = Classifier.load(path, variant=variant, threads=1)
        found = classifier.run_all_exits(golden.input_ids, golden.attention_mask, golden.token_type_ids)
        assert np.abs(found[1] - uncertainty(torch.from_numpy(found[0]), "margin").numpy()).max() < 1e-6


def test_an_export_measures_what_the_checkpoint_does(tmp_path):
    checkpoint = make_checkpoint()
    checkpoint.model.config.uncertainty = "margin"
    save_checkpoint(tmp_path / "model", checkpoint)
    for asked, measured in ((None, "margin"), ("entropy", "entropy")):
        export_bundle(tmp_path / "model", tmp_path / measured, ExportOptions(uncertainty=asked))
        assert Classifier.load(tmp_path / measured).manifest.uncertainty == measured


def test_another_measure_is_refused_before_any_work(tmp_path):
    with pytest.raises(UsageError, match="`uncertainty` is 'energy'; use entropy or margin"):
        export_bundle("nowhere", tmp_path / "b", ExportOptions(uncertainty="energy"))


def test_a_bundle_knows_the_files_that_it_was_trained_and_verified_on(checkpoint, tmp_path):
    digest, rows = "a" * 64, write_tsv(tmp_path / "verify.tsv", list(checkpoint.sample_rows[:8]))
    trained = replace(checkpoint, training={"data": {"train": [digest]}})
    export_bundle(trained, tmp_path / "b", ExportOptions(verify_data=rows))
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest["data"] == {"train": [digest], "verify": [file_record(rows)["sha256"]]}
    export_bundle(checkpoint, tmp_path / "c")  # whose training says nothing
    assert json.loads((tmp_path / "c" / "manifest.json").read_text())["data"] == {}


def test_what_tuning_kept_goes_with_the_bundle_that_is_replaced(checkpoint, tmp_path):
    export_bundle(checkpoint, tmp_path / "b")
    (tmp_path / "b" / ".exits").mkdir()
    export_bundle(checkpoint, tmp_path / "b", overwrite=True)
    assert not (tmp_path / "b" / ".exits").exists()
