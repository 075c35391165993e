"""Builds with the real TensorRT for RTX, which needs no GPU; with a stand-in where only our own steps count."""

import gc
import json
import subprocess
import sys

import pytest
from support.doubles.cuda import FakeCuda
from support.doubles.real_tensorrt import real_tensorrt_rtx

from fastbert.export import BuildOptions, build
from fastbert.export.tensorrt import build as build_module
from fastbert.export.tensorrt.builder import EngineBuilder
from fastbert.export.tensorrt.plan_header import header_problems
from fastbert.runtime import EngineError, UsageError
from fastbert.runtime.engines.gpu.tensorrt.libraries import TENSORRT_RTX, log_of
from fastbert.runtime.engines.gpu.tensorrt.profiles import Buckets
from fastbert.runtime.errors import BundleError, MissingDependencyError, OutputExistsError
from fastbert.runtime.manifest import check_files, read_manifest

NAME = "tensorrt-rtx-fp16"
SMALL = BuildOptions(batches=(4,), sequences=(48,), engine="tensorrt-rtx")
DEFAULT_SET = ["8.0", "8.6", "8.9", "12.0", "12.1", ">12.0"]


@pytest.fixture(autouse=True)
def _without_a_gpu(no_gpu):
    real_tensorrt_rtx()


@pytest.fixture(scope="module")
def rtx():
    return real_tensorrt_rtx()


@pytest.fixture
def stand_in(tensorrt_rtx, rtx_cuda):
    """A library that builds at once, on a machine without a GPU."""
    rtx_cuda._devices = 0
    return tensorrt_rtx


def with_capabilities(*capabilities):
    return BuildOptions(batches=(4,), sequences=(48,), engine="tensorrt-rtx", compute_capabilities=capabilities)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_engines_are_built_without_a_gpu_and_named_in_the_manifest(bundle_copy, rtx):
    report = build(bundle_copy, SMALL)
    manifest = read_manifest(bundle_copy)
    variant = manifest.variant_for("tensorrt-rtx")
    assert (variant.name, variant.engine, variant.precision) == (NAME, "tensorrt-rtx", "float16")
    details = manifest.raw["variants"][NAME]["tensorrt"]
    assert details["version"] == rtx.__version__
    assert details["compute_capabilities"] == DEFAULT_SET
    assert not {"sm", "gpu", "low_precision"} & details.keys()
    check_files(bundle_copy, manifest, variant.files, contents=True)
    assert report.bytes == sum(manifest.files[file]["bytes"] for file in variant.files)
    assert not list(bundle_copy.glob(".tensorrt*"))


def test_what_was_not_verified_says_so_and_how_to(stand_in, bundle_copy, run_cli, caplog):
    sizes = ("--batch", "4", "--sequence", "48")
    code, out, err = run_cli("build", bundle_copy, "--engine", "tensorrt-rtx", *sizes)
    assert code == 0
    assert f"not verified: {NAME}" in out
    command = f"fastbert verify {bundle_copy} --device tensorrt-rtx --variant {NAME}"
    assert command in err
    recorded = read_manifest(bundle_copy).raw["verification"][NAME]
    assert recorded["passed"] is None
    assert "no GPU is available" in recorded["reason"]
    assert "fastbert verify" not in recorded["reason"]  # the bundle may be moved
    moved = bundle_copy.rename(bundle_copy.with_name("two words"))
    code, out, _ = run_cli("info", moved)
    assert code == 0
    assert f"variant:         {NAME}: float16 for tensorrt-rtx; built from fp16 by version " in out
    assert "its answers were not verified, as no GPU is available" in out
    assert f"fastbert verify '{moved}' --device tensorrt-rtx --variant {NAME}" in out
    moved.rename(bundle_copy)
    code, out, _ = run_cli("build", bundle_copy, "--engine", "tensorrt-rtx", *sizes, "--overwrite", "--json")
    assert json.loads(out)["verification"] == {"passed": None}
    code, _, err = run_cli("verify", bundle_copy, "--device", "tensorrt-rtx", "--variant", NAME)
    assert code == 1
    assert "No GPU is available" in err


def test_the_command_that_it_names_verifies_them_on_a_gpu(stand_in, rtx_cuda, bundle_copy, run_cli):
    build(bundle_copy, SMALL)
    rtx_cuda._devices = 1
    code, out, _ = run_cli("verify", bundle_copy, "--device", "tensorrt-rtx", "--variant", NAME)
    assert code == 0
    assert f"verified: {NAME} on 10 rows" in out
    code, out, err = run_cli("verify", bundle_copy)
    assert code == 0, err
    assert NAME not in out  # a CPU cannot check it


def test_predict_keeps_what_was_compiled_where_it_is_told(stand_in, rtx_cuda, bundle_copy, run_cli, tmp_path):
    build(bundle_copy, SMALL)
    rtx_cuda._devices = 1
    predict = ("predict", bundle_copy, "good", "--device", "tensorrt-rtx")
    code, _, err = run_cli(*predict, "--no-runtime-cache")
    assert code == 0, err
    code, _, err = run_cli(*predict, "--runtime-cache", tmp_path / "kept")
    assert code == 0, err
    gc.collect()
    assert len(list((tmp_path / "kept").glob("*.cache"))) == 1
    assert not (tmp_path / "cache").exists()
    code, _, err = run_cli(*predict, "--no-runtime-cache", "--runtime-cache", tmp_path / "kept")
    assert code == 2
    assert "exclude each other" in err
    code, _, err = run_cli("predict", bundle_copy, "good", "--no-runtime-cache")
    assert code == 2
    assert "'cpu' does not have the option --runtime-cache" in err


def test_on_a_gpu_that_runs_them_the_answers_are_verified(tensorrt_rtx, bundle_copy):
    report = build(bundle_copy, SMALL)
    assert report.verification.problems == []
    assert report.notes == ()
    assert read_manifest(bundle_copy).raw["verification"][NAME]["passed"] is True


@pytest.mark.parametrize(
    ("gpu", "capabilities", "reason"),
    [((9, 0), (), "compute capability 9.0"), ((8, 9), ("8.6", "12.0"), "compute capability 8.9")],
    ids=["no GPU of the library", "another GPU"],
)
def test_on_a_gpu_that_does_not_they_are_built_all_the_same(
    tensorrt_rtx, bundle_copy, rtx_cuda, gpu, capabilities, reason
):
    rtx_cuda._sm = gpu
    report = build(bundle_copy, with_capabilities(*capabilities))
    assert report.verification is None
    assert reason in report.notes[0]


def test_current_is_the_gpu_of_this_machine(tensorrt_rtx, bundle_copy):
    build(bundle_copy, with_capabilities("current"))
    details = read_manifest(bundle_copy).variant_for("tensorrt-rtx").tensorrt_build
    assert details.compute_capabilities == ("8.9",)
    [*_, last] = tensorrt_rtx.recorder.of("IBuilderConfig.set_compute_capability")
    assert (last["compute_capability"].name, last["index"]) == ("SM89", 0)


@pytest.mark.parametrize(
    ("capabilities", "error", "message"),
    [
        (("9.0",), UsageError, "`compute_capabilities` has '9.0'.*builds for 8.0, 8.6, 8.9, 12.0, 12.1, or 'curr"),
        (("7.5", "8.9"), UsageError, "has '7.5', for which TensorRT for RTX has no float32 product.*'cuda'"),
        (("8.9", "sm89"), UsageError, "has 'sm89'"),
        ((">12.0",), UsageError, "has '>12.0'"),
        (("current", "8.9"), UsageError, "has 'current' beside others"),
        (("current",), EngineError, "is 'current', and no GPU is available. Name what the engines will run on"),
    ],
)
def test_a_target_that_is_none_is_refused_before_anything_is_built(gpu_bundle, capabilities, error, message):
    before = contents(gpu_bundle)
    with pytest.raises(error, match=message):
        build(gpu_bundle, with_capabilities(*capabilities))
    assert contents(gpu_bundle) == before


@pytest.mark.parametrize(
    ("gpu", "message"),
    [
        ((9, 0), r"does not support this GPU: Fake GPU has compute capability 9\.0"),
        ((7, 5), r"does not support this GPU: Fake GPU has compute capability 7\.5"),
        ((13, 0), "is older than Fake GPU"),
    ],
)
def test_current_is_refused_on_a_gpu_that_the_library_cannot_build_for(gpu_bundle, monkeypatch, gpu, message):
    """The library itself builds, without a word, what runs nowhere."""
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", FakeCuda(sm=gpu))
    with pytest.raises(EngineError, match=message):
        build(gpu_bundle, with_capabilities("current"))


def test_the_library_cannot_build_exits_for_what_we_refuse(gpu_bundle):
    [refused] = TENSORRT_RTX.no_exits
    sizes = Buckets.from_sizes((4,), (48,))
    builder = EngineBuilder(TENSORRT_RTX, sizes, hidden_size=32, compute_capabilities=(refused,))
    with pytest.raises(
        EngineError, match=r"TensorRT for RTX 1.* could not build stage_00: .*FP32 GEMM is not supported"
    ):
        builder.build("stage_00", (gpu_bundle / "fp16" / "stage_00.onnx").read_bytes())


def test_a_stopped_build_resumes(stand_in, bundle_copy, monkeypatch):
    builder = EngineBuilder.build

    def stop_at_the_third(self, graph, onnx):
        if graph == "stage_01":
            raise KeyboardInterrupt
        return builder(self, graph, onnx)

    monkeypatch.setattr(build_module.EngineBuilder, "build", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        build(bundle_copy, SMALL)
    monkeypatch.setattr(build_module.EngineBuilder, "build", builder)
    assert build(bundle_copy, SMALL).kept == ("embeddings", "stage_00")


def test_engines_of_other_targets_are_not_kept(stand_in, bundle_copy, monkeypatch):
    builder = EngineBuilder.build

    def fail_at_the_third(self, graph, onnx):
        if graph == "stage_01":
            raise EngineError("told to fail")
        return builder(self, graph, onnx)

    monkeypatch.setattr(build_module.EngineBuilder, "build", fail_at_the_third)
    with pytest.raises(EngineError, match="told to fail"):
        build(bundle_copy, SMALL)
    monkeypatch.setattr(build_module.EngineBuilder, "build", builder)
    assert build(bundle_copy, with_capabilities("8.9", "12.0")).kept == ()


def test_built_engines_are_replaced_only_with_overwrite(tensorrt_rtx, bundle_copy):
    build(bundle_copy, SMALL)
    with pytest.raises(OutputExistsError, match=NAME):
        build(bundle_copy, SMALL)
    build(bundle_copy, SMALL, overwrite=True)


def test_texts_that_the_engines_will_refuse_are_noted(stand_in, bundle_copy, run_cli):
    code, _, err = run_cli("build", bundle_copy, "--engine", "tensorrt-rtx", "--sequence", "32", "--batch", "4")
    assert code == 0
    assert "texts of up to 32 tokens and refuse longer ones" in err
    assert "max_length is 48. Add 48 to --sequence to run them" in err


def test_without_the_library_its_extra_is_named(gpu_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingDependencyError, match=r"fastbert-deploy\[tensorrt-rtx\]"):
        build(gpu_bundle, SMALL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (BuildOptions(engine="tensorflow"), "`engine` is 'tensorflow'; it must be one of tensorrt, tensorrt-rtx"),
        (BuildOptions(compute_capabilities=("8.9",)), "`compute_capabilities` is for engine 'tensorrt-rtx'"),
        (BuildOptions(engine="tensorrt-rtx", sequences=(70,)), "the longest that the model takes is 66"),
    ],
)
def test_wrong_usage_is_refused(gpu_bundle, options, message):
    with pytest.raises(UsageError, match=message):
        build(gpu_bundle, options)


def test_the_command_line_spells_the_options(gpu_bundle, run_cli):
    code, _, err = run_cli("build", gpu_bundle, "--engine", "tensorrt-rtx", "--compute-capability", "9.0")
    assert code == 2
    assert "--compute-capability has '9.0'" in err


def test_an_altered_graph_is_not_built(bundle_copy):
    (bundle_copy / "fp16" / "stage_01.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="stage_01"):
        build(bundle_copy, SMALL)


@pytest.fixture
def builder():
    return EngineBuilder(TENSORRT_RTX, Buckets.from_sizes((4,), (48,)), hidden_size=32)


def test_a_broken_graph_is_an_error_with_the_librarys_reason(builder):
    with pytest.raises(EngineError, match=r"TensorRT for RTX 1.* cannot parse stage_00: .*Failed to parse the ONNX"):
        builder.build("stage_00", b"not a graph")


def test_a_graph_that_is_not_what_the_chain_needs_is_refused(builder, gpu_bundle):
    stage = (gpu_bundle / "fp16" / "stage_00.onnx").read_bytes()
    with pytest.raises(EngineError, match=r"engine of embeddings is not what the chain needs: its inputs are .*hidden"):
        builder.build("embeddings", stage)
    other = EngineBuilder(TENSORRT_RTX, Buckets.from_sizes((4,), (48,)), hidden_size=64)
    with pytest.raises(EngineError, match=r"hidden_states has the shape \[-1, -1, 32\], which must end with 64"):
        other.build("stage_00", stage)


def test_a_plans_header_is_checked_without_a_gpu(builder, gpu_bundle, rtx):
    plan = builder.build("compaction", (gpu_bundle / "fp16" / "compaction.onnx").read_bytes())
    runtime = rtx.Runtime(log_of(rtx).trt_logger)
    assert header_problems(rtx, runtime, plan) == []
    for other in (b"ptrt" + plan[4:], plan[:20], b"x" * 200):
        assert header_problems(rtx, runtime, other) == ["its plan's header is wrong (MALFORMED_ENGINE)"]


def test_a_process_has_one_logger(gpu_bundle, rtx, caplog):
    """The library ignores a second one, and says so."""
    for _ in range(2):
        EngineBuilder(TENSORRT_RTX, Buckets.from_sizes((4,), (48,)), hidden_size=32).build(
            "compaction", (gpu_bundle / "fp16" / "compaction.onnx").read_bytes()
        )
    assert "logger" not in caplog.text
    assert log_of(rtx) is log_of(rtx)


def test_building_needs_neither_torch_nor_onnx_nor_cuda():
    script = (
        "import sys; sys.modules['cuda'] = None\n"
        "import fastbert.export.tensorrt.build\n"
        "print(sorted({'torch', 'transformers', 'onnx', 'onnxruntime', 'polygraphy', 'tensorrt'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
