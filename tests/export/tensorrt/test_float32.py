"""Engines of ``fp32-portable``: exact, without TF32, and not refused for a lack of half precision."""

import shutil

import pytest

from fastbert.export import BuildOptions, ExportOptions, build, export_bundle, verify
from fastbert.export.tensorrt import build as build_module
from fastbert.export.verification.engines import compare_engines
from fastbert.runtime.errors import EngineError, UsageError, VerificationError
from fastbert.runtime.manifest import read_manifest

SMALL = BuildOptions("fp32-portable", (1, 4), (48,))
NAME = "tensorrt-fp32-portable-sm90"


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("float32") / "bundle"
    rows = checkpoint.sample_rows[:10]
    export_bundle(checkpoint, path, ExportOptions(precisions=("fp32", "fp32-portable", "fp16"), verify_data=rows))
    return path


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "bundle")


def test_engines_without_half_precision_are_built_where_float32_is_wanted(tensorrt, copy):
    tensorrt.precision = "Float"
    report = build(copy, SMALL)
    assert (report.variant, report.low_precision) == (NAME, {})
    variant = read_manifest(copy).variant_for("tensorrt")
    assert (variant.precision, variant.exact) == ("float32", True)
    [found] = verify(copy, device="tensorrt")
    assert (found.exact, found.problems) == (True, [])
    with pytest.raises(EngineError, match="shows 0% of the layers in float16 or int8"):  # where it is not wanted
        build(copy, BuildOptions("fp16", (1, 4), (48,)))


def test_tf32_is_off_in_every_engine(tensorrt, copy):
    build(copy, SMALL)
    flag = {"flag": tensorrt.BuilderFlag.TF32}
    assert tensorrt.recorder.of("IBuilderConfig.clear_flag") == [flag] * 5
    assert flag not in tensorrt.recorder.of("IBuilderConfig.set_flag")


def test_engines_that_round_are_refused(tensorrt, copy, monkeypatch):
    """An exact variant must give PyTorch's logits; half precision would pass the bound of a lossy one."""
    read_golden = build_module.read_golden

    def other_answers(path):
        golden = read_golden(path)
        golden.logits[:] += 1e-3
        return golden

    monkeypatch.setattr(build_module, "read_golden", other_answers)
    with pytest.raises(VerificationError, match="differ"):
        build(copy, SMALL)
    build(copy, BuildOptions("fp16", (1, 4), (48,)))


def test_the_comparison_of_engines_is_tighter_in_float32(tensorrt, copy, monkeypatch):
    import polygraphy.comparator

    tolerances = []

    class Noted(Exception):
        pass

    def note(*, atol, rtol):
        tolerances.append((atol, rtol))
        raise Noted

    monkeypatch.setattr(polygraphy.comparator, "SimpleCompareFunc", note)
    for variant in ("fp32-portable", "fp16"):
        build(copy, BuildOptions(variant, (1, 4), (48,)))
        with pytest.raises(Noted):
            compare_engines(copy, variant=f"tensorrt-{variant}-sm90", runner=lambda *_: None)
    assert tolerances[0] < (1e-3, 1e-3) < tolerances[1]


def test_the_command_builds_it_and_prints_no_share_of_half_precision(tensorrt, copy, run_cli):
    code, out, _ = run_cli("build", copy, "--variant", "fp32-portable", "--batch", "1,4", "--sequence", "48")
    assert code == 0
    assert NAME in out
    assert "float16" not in out
    code, _, err = run_cli("build", copy, "--variant", "fp32")
    assert code == 2
    assert "fp32-portable" in err


def test_fp32_of_the_cpu_is_refused_and_the_others_named(tensorrt, copy):
    with pytest.raises(UsageError, match="is 'fp32', which the bundle cannot build from; it has fp32-portable, fp16"):
        build(copy, BuildOptions("fp32"))


def test_graphs_of_an_unknown_engine_are_not_built_from(tensorrt, copy):
    path = copy / "manifest.json"
    path.write_text(path.read_text().replace('"engine": "onnxruntime_cuda"', '"engine": "engine_of_the_future"'))
    with pytest.raises(UsageError, match="cannot build from; it has no variant for a GPU"):
        build(copy, SMALL)
