"""Builds with stand-ins whose interface is checked against the real TensorRT 11 (`support.doubles`).

The first test pins every call and its order: without a GPU nothing else can check them.
"""

import json
import subprocess
import sys
import threading

import pytest
from support.factories import make_rows, write_tsv

from fastbert.export import BuildOptions, build, verify
from fastbert.export.tensorrt import build as build_module
from fastbert.runtime import Classifier, EngineError, UsageError
from fastbert.runtime.errors import BundleError, MissingDependencyError, OutputExistsError, VerificationError
from fastbert.runtime.manifest import Bucket, check_files, read_manifest

SMALL = BuildOptions(batches=(1, 4), sequences=(32, 48))
GRAPHS = ["embeddings", "stage_00", "stage_01", "stage_02", "compaction"]


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_build_makes_the_calls_of_the_design_in_their_order(tensorrt, bundle_copy):
    build(bundle_copy, SMALL)
    names = tensorrt.recorder.names()
    first = names[names.index("Builder.__init__") : names.index("EngineInspector.get_engine_information") + 1]
    profile = ["Builder.create_optimization_profile", *["IOptimizationProfile.set_shape"] * 3]
    read_back = ["IOptimizationProfile.get_shape"] * 3
    assert first == [
        "Builder.__init__",
        "Builder.create_network",
        "OnnxParser.__init__",
        "OnnxParser.parse",
        *["INetworkDefinition.get_input"] * 3,
        *["INetworkDefinition.get_output"] * 2,
        "Builder.create_builder_config",
        "IBuilderConfig.builder_optimization_level=",
        "IBuilderConfig.clear_flag",
        "IBuilderConfig.profiling_verbosity=",
        *[*profile, "IBuilderConfig.add_optimization_profile", *read_back] * 4,
        "IBuilderConfig.create_timing_cache",
        "IBuilderConfig.set_timing_cache",
        "Builder.build_serialized_network",
        "IBuilderConfig.get_timing_cache",
        "ITimingCache.serialize",
        "Runtime.deserialize_cuda_engine",
        "ICudaEngine.create_execution_context",
        "IExecutionContext.set_optimization_profile_async",
        *["IExecutionContext.set_input_shape"] * 3,
        "ICudaEngine.create_engine_inspector",
        "EngineInspector.execution_context=",
        "EngineInspector.get_engine_information",
    ]
    assert tensorrt.recorder.of("Builder.create_network") == [{"flags": 0}] * 5


def test_profiles_are_the_buckets(tensorrt, bundle_copy):
    build(bundle_copy, SMALL)
    shapes = tensorrt.recorder.of("IOptimizationProfile.set_shape")
    hidden = [s for s in shapes if s["input"] == "hidden_states"][:4]
    assert [(s["min"], s["opt"], s["max"]) for s in hidden] == [
        ((1, 32, 32), (1, 32, 32), (1, 32, 32)),
        ((2, 32, 32), (4, 32, 32), (4, 32, 32)),
        ((1, 48, 32), (1, 48, 32), (1, 48, 32)),
        ((2, 48, 32), (4, 48, 32), (4, 48, 32)),
    ]
    rows = [(s["min"], s["opt"], s["max"]) for s in shapes if s["input"] == "rows"]
    assert rows == [((1,), (1,), (1,)), ((2,), (4,), (4,))] * 2


def test_stages_of_one_structure_share_the_timing_cache(tensorrt, bundle_copy):
    build(bundle_copy, SMALL)
    given = [
        len(json.loads(call["serialized_timing_cache"] or b"[]"))
        for call in tensorrt.recorder.of("IBuilderConfig.create_timing_cache")
    ]
    assert given == [0, 1, 2, 2, 2]  # embeddings, then one structure for all stages


def test_the_manifest_describes_the_engines(tensorrt, bundle_copy):
    report = build(bundle_copy, SMALL)
    manifest = read_manifest(bundle_copy)
    variant = next(found for found in manifest.variants if found.name == "tensorrt-fp16-sm90")
    assert variant.devices == ("tensorrt",)
    details = manifest.raw["variants"][variant.name]["tensorrt"]
    assert details["version"] == tensorrt.__version__
    assert (details["gpu"], details["sm"], details["flags"], details["source"]) == ("Fake GPU", "sm90", [], "fp16")
    assert [profile["sequence"] for profile in details["profiles"]] == [32, 32, 48, 48]
    assert all(share > 0.5 for share in details["low_precision"].values())
    assert report.built_s.keys() == set(GRAPHS)
    check_files(bundle_copy, manifest, variant.files, contents=True)
    assert manifest.raw["verification"]["tensorrt-fp16-sm90"]["passed"]
    assert not list(bundle_copy.glob(".tensorrt*"))


def test_the_default_sequences_end_at_the_bundles_longest_text(tensorrt, bundle_copy):
    build(bundle_copy, BuildOptions(batches=(1,)))
    variant = read_manifest(bundle_copy).variant_for("tensorrt")
    assert [bucket.sequence for bucket in variant.tensorrt_build.profiles] == [32, 48]


def test_verify_takes_a_built_variant_too(tensorrt, bundle_copy):
    build(bundle_copy, SMALL)
    [found] = verify(bundle_copy, device="tensorrt")
    assert (found.variant, found.problems) == ("tensorrt-fp16-sm90", [])
    assert {found.variant for found in verify(bundle_copy)} == {
        "fp32",
        "fp16",
        "int8-qdq",
    }  # what a CPU can check


def test_int8_becomes_another_variant(tensorrt, bundle_copy):
    build(bundle_copy, BuildOptions("int8-qdq", (1, 4), (48,)))
    variant = read_manifest(bundle_copy).variant_for("tensorrt")
    assert (variant.name, variant.precision) == ("tensorrt-int8-qdq-sm90", "int8")


@pytest.mark.parametrize("fault", ["layers_01_01", "build layers_01_01"])
def test_a_build_with_a_failed_stage_resumes_with_that_stage(tensorrt, bundle_copy, fault):
    before = (bundle_copy / "manifest.json").read_bytes()
    tensorrt.fail = {fault}
    with pytest.raises(EngineError, match=r"1 of 5 engines failed: stage_01\. .*builds only what is missing"):
        build(bundle_copy, SMALL)
    assert (bundle_copy / "manifest.json").read_bytes() == before
    tensorrt.fail = set()
    report = build(bundle_copy, SMALL)
    assert list(report.built_s) == ["stage_01"]
    assert set(report.kept) == set(GRAPHS) - {"stage_01"}
    assert Classifier.load(bundle_copy, device="tensorrt").predict(["good"])


def test_a_killed_build_resumes_where_it_stopped(tensorrt, bundle_copy, monkeypatch):
    builder = build_module.EngineBuilder.build

    def stop_at_the_third(self, graph, onnx):
        if graph == "stage_01":
            raise KeyboardInterrupt
        return builder(self, graph, onnx)

    monkeypatch.setattr(build_module.EngineBuilder, "build", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        build(bundle_copy, SMALL)
    Classifier.load(bundle_copy).predict(["good"])  # the bundle is unchanged
    monkeypatch.setattr(build_module.EngineBuilder, "build", builder)
    assert build(bundle_copy, SMALL).kept == ("embeddings", "stage_00")


def test_engines_of_an_interrupted_build_are_checked_before_they_are_kept(tensorrt, bundle_copy):
    tensorrt.fail = {"layers_02_02"}
    with pytest.raises(EngineError):
        build(bundle_copy, SMALL)
    tensorrt.fail = set()
    (bundle_copy / ".tensorrt-fp16-sm90.partial" / "stage_00.engine").write_bytes(b"cut off")
    assert set(build(bundle_copy, SMALL).built_s) == {"stage_00", "stage_02"}


def test_other_profiles_start_over(tensorrt, bundle_copy):
    tensorrt.fail = {"layers_02_02"}
    with pytest.raises(EngineError):
        build(bundle_copy, SMALL)
    tensorrt.fail = set()
    assert set(build(bundle_copy, BuildOptions(batches=(1,))).built_s) == set(GRAPHS)


def test_a_silently_float32_engine_is_refused(tensorrt, bundle_copy):
    tensorrt.precision = "Float"
    with pytest.raises(EngineError, match="shows 0% of the layers in float16 or int8"):
        build(bundle_copy, SMALL)
    assert "tensorrt-fp16-sm90" not in (bundle_copy / "manifest.json").read_text()


def test_an_engine_of_unknown_types_is_refused(tensorrt, bundle_copy):
    tensorrt.precision = "N/A"
    with pytest.raises(EngineError, match="refused"):
        build(bundle_copy, SMALL)


def test_engines_with_wrong_answers_are_not_added(tensorrt, bundle_copy, monkeypatch):
    before = (bundle_copy / "manifest.json").read_bytes()
    read_golden = build_module.read_golden

    def other_answers(path):
        golden = read_golden(path)
        golden.logits[:] = golden.logits[..., ::-1]
        return golden

    monkeypatch.setattr(build_module, "read_golden", other_answers)
    with pytest.raises(VerificationError, match="answers flip"):
        build(bundle_copy, SMALL)
    assert (bundle_copy / "manifest.json").read_bytes() == before


def test_built_engines_are_replaced_only_with_overwrite(tensorrt, bundle_copy):
    build(bundle_copy, SMALL)
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        build(bundle_copy, SMALL)
    build(bundle_copy, BuildOptions(batches=(2,), sequences=(48,)), overwrite=True)
    manifest = read_manifest(bundle_copy)
    assert manifest.variant_for("tensorrt").tensorrt_build.profiles == (Bucket(1, 2, 48),)
    check_files(bundle_copy, manifest, manifest.files, contents=True)


def test_builds_of_one_bundle_run_one_after_the_other(tensorrt, bundle_copy, caplog):
    caplog.set_level("INFO")
    failed = []

    def run(variant):
        try:
            build(bundle_copy, BuildOptions(variant, (1, 4), (48,)))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("fp16", "int8-qdq")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    names = {variant.name for variant in read_manifest(bundle_copy).variants}
    assert {"tensorrt-fp16-sm90", "tensorrt-int8-qdq-sm90"} <= names


def test_golden_rows_longer_than_every_profile_are_skipped_and_counted(tensorrt, bundle_copy):
    report = build(bundle_copy, BuildOptions(batches=(4,), sequences=(16,)))
    assert report.verification.rows < 10
    assert "longer than every profile" in report.notes[0]
    with pytest.raises(UsageError, match="nothing can be verified"):
        build(bundle_copy, BuildOptions(batches=(4,), sequences=(1,)), overwrite=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            BuildOptions(variant="fp32"),
            "`variant` is 'fp32', which the bundle cannot build from; it has fp16, int8-qdq",
        ),
        (BuildOptions(sequences=(70,)), "`sequences` has 70; the longest that the model takes is 66"),
        (BuildOptions(batches=(0,)), "expected numbers from 1"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_built(tensorrt, bundle_copy, options, message):
    with pytest.raises(UsageError, match=message):
        build(bundle_copy, options)
    assert tensorrt.recorder.calls == []


def test_a_gpu_machine_needs_neither_torch_nor_onnx_to_build():
    script = (
        "import sys, fastbert.export.tensorrt.build, fastbert.export.verification.engines\n"
        "print(sorted({'torch', 'transformers', 'onnx', 'onnxruntime', 'polygraphy', 'tensorrt'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_bundle_without_a_gpu_variant_names_the_export(tensorrt, bundle, tmp_path):
    with pytest.raises(UsageError, match="--precision fp32,fp16"):
        build(bundle)


def test_without_tensorrt_the_extra_is_named(monkeypatch, gpu_bundle):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match=r"fastbert-deploy\[tensorrt\]"):
        build(gpu_bundle)


def test_without_a_gpu_nothing_is_made(tensorrt, cuda, gpu_bundle):
    cuda._devices = 0
    before = contents(gpu_bundle)
    with pytest.raises(EngineError, match="No GPU"):
        build(gpu_bundle)
    assert contents(gpu_bundle) == before


def test_tensorrt_10_is_refused(tensorrt, bundle_copy):
    tensorrt.__version__ = "10.16.1.11"
    with pytest.raises(EngineError, match=r"TensorRT 10\.16\.1\.11 is installed; this fastbert uses TensorRT 11"):
        build(bundle_copy)


def test_an_altered_graph_is_not_built(tensorrt, bundle_copy):
    (bundle_copy / "fp16" / "stage_01.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="stage_01"):
        build(bundle_copy, SMALL)


def test_the_command_prints_what_it_built(tensorrt, bundle_copy, run_cli, caplog):
    caplog.set_level("INFO")
    code, out, err = run_cli("build", bundle_copy, "--batch", "1,4", "--sequence", "48")
    assert code == 0
    assert "tensorrt-fp16-sm90" in out
    assert "3/5 stage_01" in caplog.text
    code, out, _ = run_cli("build", bundle_copy, "--batch", "1,4", "--sequence", "48", "--overwrite", "--json")
    assert json.loads(out)["variant"] == "tensorrt-fp16-sm90"
    code, out, _ = run_cli("predict", bundle_copy, "good plot", "--device", "tensorrt")
    assert code == 0
    assert json.loads(out)["label"]
    data = write_tsv(bundle_copy.parent / "rows.tsv", make_rows(9))
    code, out, _ = run_cli("evaluate", bundle_copy, "--data", data, "--device", "tensorrt", "--json")
    assert code == 0
    assert json.loads(out)[0]["samples"] == 9
    code, _, err = run_cli("build", bundle_copy, "--batch", "none")
    assert code == 2
    assert "batch" in err
    assert "'none'" in err
    code, out, _ = run_cli("verify", bundle_copy, "--device", "tensorrt")
    assert code == 0
    assert "tensorrt-fp16-sm90" in out
