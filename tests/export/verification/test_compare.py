import dataclasses
import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fastbert.export import Bounds, ExportOptions, export_bundle, verify
from fastbert.export.golden import read_golden
from fastbert.export.joined.all_stages import all_stages_model
from fastbert.export.joined.single_row import single_row_model
from fastbert.export.verification.compare import verify_bundle
from fastbert.runtime.engines.cpu import OnnxRuntimeEngine
from fastbert.runtime.errors import BundleError, UsageError
from fastbert.runtime.manifest import MANIFEST, file_record


@pytest.fixture
def golden(bundle):
    return read_golden(bundle / "golden.npz")


def test_the_golden_rows_pass(bundle, golden):
    found = verify_bundle(bundle, golden)
    assert found.problems == []
    assert found.rows == 40
    assert verify(bundle)[0].as_dict()["passed"]


def test_a_bundle_is_verified_against_its_checkpoint(bundle, checkpoint_dir):
    assert verify(bundle, against=str(checkpoint_dir))[0].problems == []


def test_a_bundle_with_another_measure_than_its_checkpoint_is_verified_with_its_own(checkpoint_dir, tmp_path):
    export_bundle(checkpoint_dir, tmp_path / "margin", ExportOptions(uncertainty="margin"))
    [found] = verify(tmp_path / "margin", against=str(checkpoint_dir))
    assert found.problems == []
    document = json.loads((tmp_path / "margin" / MANIFEST).read_text())
    for claimed in ("entropy", "energy"):  # what the engines do not measure, and what this version does not know
        (tmp_path / "margin" / MANIFEST).write_text(json.dumps({**document, "uncertainty": claimed}))
        if claimed == "entropy":
            [found] = verify(tmp_path / "margin", against=str(checkpoint_dir))
            assert "rows exit after other layers" in found.problems[0]
        else:
            with pytest.raises(BundleError, match="exits measure 'energy'; this fastbert knows entropy, margin"):
                verify(tmp_path / "margin", against=str(checkpoint_dir))
        assert verify(tmp_path / "margin")[0].problems == []  # the golden rows are the bundle's own


def test_different_logits_are_found_at_their_exit(bundle, golden):
    logits = golden.logits.copy()
    logits[3, 1] += 0.01
    found = verify_bundle(bundle, dataclasses.replace(golden, logits=logits))
    assert found.largest_logit_difference[1] == pytest.approx(0.01, abs=1e-4)
    assert "exit 1" in found.problems[0]


@pytest.mark.parametrize("count", [20, 40])
def test_a_wrong_removal_of_samples_is_found_on_few_rows(bundle, golden, monkeypatch, count):
    keep = OnnxRuntimeEngine.keep

    def keep_in_wrong_order(engine, state, rows, sequence):
        return keep(engine, state, rows[::-1], sequence)

    monkeypatch.setattr(OnnxRuntimeEngine, "keep", keep_in_wrong_order)
    few = golden.select(np.arange(len(golden.texts)) < count)
    assert "logits at exit" in " ".join(verify_bundle(bundle, few).problems)


def test_an_exit_is_named_by_its_layer(checkpoint, tmp_path):
    export_bundle(checkpoint, tmp_path / "b", ExportOptions(exits=[0, 2]))
    golden = read_golden(tmp_path / "b" / "golden.npz")
    logits = golden.logits.copy()
    logits[3, 1] += 0.01
    found = verify_bundle(tmp_path / "b", dataclasses.replace(golden, logits=logits))
    assert found.exits == (0, 2)
    assert "exit 2" in found.problems[0]


def test_a_nan_fails(bundle, golden):
    logits = golden.logits.copy()
    logits[0, 0, 0] = np.nan
    assert verify_bundle(bundle, dataclasses.replace(golden, logits=logits)).problems


def test_a_bound_that_is_not_a_number_fails(bundle, golden):
    found = verify_bundle(bundle, golden, bounds=Bounds(max_label_flips=float("nan")))
    assert dataclasses.replace(found, exact=False).problems


def test_a_flipped_label_is_found(bundle, golden):
    logits = golden.logits.copy()
    logits[5, 2] = -logits[5, 2]
    assert "labels flip" in " ".join(verify_bundle(bundle, dataclasses.replace(golden, logits=logits)).problems)


def test_a_different_exit_is_found_and_a_borderline_one_is_allowed(bundle, golden):
    uncertainty = golden.uncertainty.copy()
    row = int(np.argmax(uncertainty[:, 0] > 0.32))
    uncertainty[row, 0] = 0.0
    found = verify_bundle(bundle, dataclasses.replace(golden, uncertainty=uncertainty))
    assert found.exit_flips["0.1"] == 1
    assert any("exit after other layers" in problem for problem in found.problems)
    uncertainty[row, 0] = np.float32(0.3) - 1e-6
    found = verify_bundle(bundle, dataclasses.replace(golden, uncertainty=uncertainty))
    assert (found.exit_flips["0.3"], found.borderline_exit_flips["0.3"]) == (0, 1)


def test_a_different_tokenization_is_found(bundle, golden):
    texts = (*golden.texts[:7], golden.texts[7] + " good", *golden.texts[8:])
    assert verify_bundle(bundle, dataclasses.replace(golden, texts=texts)).token_mismatches >= 1


def test_golden_rows_with_other_exits_or_classes_are_refused(bundle, golden):
    for logits, uncertainty in (
        (golden.logits[:, 1:], golden.uncertainty[:, 1:]),
        (golden.logits[..., :2], golden.uncertainty),
    ):
        with pytest.raises(BundleError, match="exits and . classes; manifest.json has 3 exits and 3 labels"):
            verify_bundle(bundle, dataclasses.replace(golden, logits=logits, uncertainty=uncertainty))


def test_labels_of_an_older_bundle_are_unknown(golden, bundle, tmp_path):
    with np.load(bundle / "golden.npz") as file:
        np.savez(tmp_path / "old.npz", **{name: file[name] for name in file if name != "labels"})
    old = read_golden(tmp_path / "old.npz")
    assert old.labels.tolist() == [-1] * len(golden.texts)
    assert verify_bundle(bundle, old).accuracy is None


def test_data_without_a_checkpoint_is_refused(bundle, tmp_path):
    with pytest.raises(UsageError, match="`data` needs `against`"):
        verify(bundle, data=tmp_path / "x.tsv")


def test_an_altered_golden_file_is_named(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "b")
    path = tmp_path / "b" / "golden.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BundleError, match=r"golden\.npz was altered"):
        verify(tmp_path / "b")


def test_every_weight_of_a_stage_matters_to_the_check(bundle, golden, tmp_path):
    """Change any one weight tensor of a stage a little: a few rows suffice to see it."""
    few = golden.select(np.arange(len(golden.texts)) < 6)
    name = "fp32/stage_01.onnx"
    for index in range(len(onnx.load(bundle / name).graph.initializer)):
        model = onnx.load(bundle / name)
        tensor = model.graph.initializer[index]
        array = numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or tensor.name.startswith("constant/"):
            continue
        rough = np.random.default_rng(0).normal(size=array.shape).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array + 0.05 * rough, tensor.name))
        target = tmp_path / f"b{index}"
        shutil.copytree(bundle, target)
        onnx.save(model, target / name)
        chain = all_stages_model(sorted((target / "fp32").glob("stage_*.onnx")))
        onnx.save(chain, target / "fp32" / "chain.onnx")
        manifest = json.loads((target / "manifest.json").read_text())
        manifest["files"] |= {file: file_record(target / file) for file in (name, "fp32/chain.onnx")}
        (target / "manifest.json").write_text(json.dumps(manifest))
        assert verify_bundle(target, few).problems, tensor.name


def test_a_single_row_model_with_other_layers_is_refused(bundle, golden, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "b")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest |= {"layers": 4, "exits": [0, 1, 3]}
    manifest["flops"]["exits"] *= 2
    manifest["flops"]["exits"] = manifest["flops"]["exits"][:4]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        BundleError, match="row.onnx answers after layer 2; manifest.json has exits after the layers 0, 1, 3"
    ):
        verify_bundle(copy, golden)


def test_the_single_row_model_is_verified_too(bundle, golden, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    first, second, third = sorted((copy / "fp32").glob("stage_*.onnx"))
    wrong = copy / "fp32" / "row.onnx"
    joined = single_row_model(copy / "fp32" / "embeddings.onnx", [second, first, third], range(3))
    wrong.write_bytes(joined.SerializeToString())
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["files"]["fp32/row.onnx"] = file_record(wrong)
    (copy / MANIFEST).write_text(json.dumps(manifest))
    assert "logits at exit" in verify_bundle(copy, golden).problems[0]
