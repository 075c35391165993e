"""The comparison with ONNX Runtime instead of TensorRT: engines that agree, and one that does not."""

import shutil

import pytest

from fastbert.export import BuildOptions
from fastbert.export.verification import engines as polygraphy_check
from fastbert.export.verification.engines import compare_engines
from fastbert.runtime.errors import BundleError, UsageError

pytest.importorskip("polygraphy", reason="the package polygraphy is not installed")


def runner_of(folder, profiles):
    from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx

    def make(engine, profile):
        profiles.append(profile)
        return OnnxrtRunner(SessionFromOnnx(str(folder / f"{engine.stem}.onnx"), providers=["cpu"]), name="tensorrt")

    return make


def test_every_engine_is_compared_on_the_output_of_the_one_before(built):
    profiles = []
    found = compare_engines(built, runner=runner_of(built / "fp16", profiles))
    assert [one.engine for one in found] == ["embeddings", "stage_00", "stage_01", "stage_02"]
    assert [one.problems for one in found] == [[]] * 4
    assert all(one.largest_difference and max(one.largest_difference.values()) == 0 for one in found)
    assert profiles == [5] * 4  # 5-16 x 32: the longest golden row has 32 tokens
    assert found[0].rows == 10


def test_as_many_rows_are_compared_as_the_largest_batch_has(tensorrt, built_with):
    path = built_with(BuildOptions(batches=(1, 4), sequences=(48,)))
    profiles = []
    found = compare_engines(path, runner=runner_of(path / "fp16", profiles))
    assert [(one.rows, one.problems) for one in found] == [(4, [])] * 4
    assert profiles == [1] * 4  # 2-4 x 48


def test_the_problem_names_the_engine(built):
    other = shutil.copytree(built / "fp16", built / "other")
    shutil.copy(built / "fp16" / "stage_02.onnx", other / "stage_01.onnx")
    found = compare_engines(built, runner=runner_of(other, []))
    assert [bool(one.problems) for one in found] == [False, False, True, False]
    assert "tensorrt-fp16-sm90, stage_01: next_hidden_states differs by up to" in found[2].problems[0]
    assert found[2].as_dict()["passed"] is False


def test_the_command_prints_each_engine_and_fails_on_one(built, run_cli, monkeypatch):
    monkeypatch.setattr(polygraphy_check, "_tensorrt_runner", runner_of(built / "fp16", []))
    code, out, _ = run_cli("verify", built, "--against", "onnxruntime")
    assert code == 0
    assert out.count("agrees") == 4
    other = shutil.copytree(built / "fp16", built / "other")
    shutil.copy(built / "fp16" / "stage_02.onnx", other / "stage_01.onnx")
    monkeypatch.setattr(polygraphy_check, "_tensorrt_runner", runner_of(other, []))
    code, out, err = run_cli("verify", built, "--against", "onnxruntime")
    assert code == 1
    assert "FAILED: stage_01" in out
    assert "disagree" in err
    code, _, err = run_cli("verify", built, "--against", "onnxruntime", "--data", "x.tsv")
    assert code == 2


def test_damaged_and_unbuilt_bundles_are_refused(built, gpu_bundle):
    with pytest.raises(UsageError, match="no variant for device 'tensorrt'"):
        compare_engines(gpu_bundle)
    (built / "fp16" / "stage_00.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="stage_00"):
        compare_engines(built)
