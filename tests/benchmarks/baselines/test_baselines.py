import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
from support.factories import make_rows

from fastbert.benchmarks.baselines import BASELINES, baseline_system, openvino, prepare_baselines
from fastbert.benchmarks.systems import Budget, Sources, chain_systems
from fastbert.export import ExportOptions, export_bundle
from fastbert.export.verification.compare import Bounds
from fastbert.runtime import Classifier
from fastbert.runtime.errors import EngineError, UsageError
from fastbert.runtime.manifest import read_manifest


@pytest.fixture(scope="module")
def sources(bundle, checkpoint_dir, tmp_path_factory):
    return Sources(bundle, checkpoint_dir, "cpu", tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_gives_the_models_answers(name, sources, classifier):
    missing = [module for module in BASELINES[name].needs if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    systems, skipped = prepare_baselines([name], sources)
    if skipped:
        pytest.skip(skipped[0].reason)
    runner = systems[0].load(Budget(1))
    encoded = classifier.encode(["good film", "bad " * 9, ""])
    arrays = (encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
    speed = None if BASELINES[name].kind == "whole" else 0.4
    logits, layers = runner.run(*arrays, speed)
    expected = classifier.run(*arrays, speed=speed or 0.0)
    exact = BASELINES[name].precision == "float32"
    assert np.allclose(logits, expected.logits, atol=1e-4 if exact else 0.3)
    assert layers.tolist() == (expected.exit_layer + 1).tolist()
    again, _ = runner.run(*(array[:1, :4] for array in arrays), speed)  # another shape, and the first answer stays
    assert again.shape == (1, 3)
    assert np.allclose(logits, expected.logits, atol=1e-4 if exact else 0.3)


def test_pytorchs_early_exit_measures_what_the_bundle_does(checkpoint_dir, classifier, tmp_path):
    export_bundle(checkpoint_dir, tmp_path / "margin", ExportOptions(uncertainty="margin"))
    margin = Classifier.load(tmp_path / "margin", threads=1)
    runner = baseline_system("pytorch-early-exit", Sources(tmp_path / "margin", checkpoint_dir, "cpu", tmp_path)).load(
        Budget(1)
    )
    encoded = classifier.encode([row.text for row in make_rows(30, seed=4)])
    arrays = (encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
    layers = runner.run(*arrays, 0.4)[1].tolist()
    assert layers == (margin.run(*arrays, speed=0.4).exit_layer + 1).tolist()
    assert layers != (classifier.run(*arrays, speed=0.4).exit_layer + 1).tolist()


def test_int8_products_of_the_whole_model_are_onnx_runtimes_default(sources, monkeypatch):
    monkeypatch.setattr("fastbert.runtime.engines.cpu.sessions.int8_products_saturate", lambda: True)
    prepare_baselines(["onnxruntime-int8"], sources)
    runner = baseline_system("onnxruntime-int8", sources).load(Budget(1))
    with pytest.raises(RuntimeError, match="x64quantprecision"):
        runner._session.get_session_options().get_session_config_entry("session.x64quantprecision")


def test_variants_are_systems(sources):
    assert [(f.name, f.kind, f.precision) for f in chain_systems(sources, read_manifest(sources.bundle), None)] == [
        ("fp32", "chain", "float32")
    ]
    with pytest.raises(UsageError, match="'int3'"):
        chain_systems(sources, read_manifest(sources.bundle), ["int3"])


def test_a_baseline_for_another_device_is_skipped(sources, bundle):
    import dataclasses

    systems, skipped = prepare_baselines(["onnxruntime"], dataclasses.replace(sources, device="cuda"))
    assert (systems, skipped[0].reason) == ([], "it runs on cpu, not on cuda")


def test_a_system_can_be_loaded_from_prepared_files_alone(sources):
    prepare_baselines(["onnxruntime"], sources)
    assert baseline_system("onnxruntime", sources).load(Budget(1)).settings["threads"] == 1


def test_a_bundle_without_float32_has_no_whole_model(checkpoint, tmp_path):
    bounds = Bounds(max_label_flips=1.0)
    export_bundle(checkpoint, tmp_path / "b", ExportOptions(precisions=("int8",), bounds=bounds))
    _, [skipped] = prepare_baselines(["onnxruntime"], Sources(tmp_path / "b", None, "cpu", tmp_path))
    assert "is made from a float32 variant" in skipped.reason
    assert "has only int8. Export one with: fastbert export MODEL --output DIR --precision fp32" in skipped.reason


@pytest.mark.parametrize(
    ("precision", "properties", "message"),
    [
        ("bfloat16", {"OPTIMIZATION_CAPABILITIES": ["FP32", "INT8"]}, "does not run bfloat16 .* only FP32, INT8"),
        ("float32", {"INFERENCE_PRECISION_HINT": "bf16"}, "compiled for bf16 instead of f32"),
    ],
)
def test_openvino_in_another_precision_is_an_error(sources, monkeypatch, precision, properties, message):
    class Core:
        def get_property(self, *names):
            return properties[names[-1]] if names[0] == "CPU" else SimpleNamespace(get_type_name=lambda: "bf16")

        def compile_model(self, *_):
            return self

    monkeypatch.setattr(openvino, "_core", Core)
    with pytest.raises(EngineError, match=message):
        if precision == "bfloat16":
            openvino.prepare(sources, precision=precision)
        else:
            openvino.load(sources, Budget(1), precision=precision)


def test_int8_of_openvino_needs_nncf_too(sources, monkeypatch):
    find = importlib.util.find_spec
    found = {"openvino": object(), "nncf": None}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found[name] if name in found else find(name))
    _, [skipped] = prepare_baselines(["openvino-int8"], sources)
    assert skipped.reason == "nncf is not installed. Install it with: pip install 'fastbert-deploy[openvino]'"
