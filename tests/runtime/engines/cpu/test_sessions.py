"""Which sessions and options a variant gets on the CPU."""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest

from fastbert.export import Bounds, ExportOptions, export_bundle
from fastbert.runtime.chain import run_all_exits
from fastbert.runtime.engines.cpu import OnnxRuntimeEngine, sessions
from fastbert.runtime.engines.cpu.sessions import SessionPlan, session_options
from fastbert.runtime.hardware import int8_products_saturate
from fastbert.runtime.inputs import Inputs
from fastbert.runtime.manifest import Variant, read_manifest


@pytest.mark.parametrize(("processor_does", "weights_do"), itertools.product((True, False), repeat=2))
def test_uint8_weights_are_used_only_where_products_saturate(monkeypatch, processor_does, weights_do):
    monkeypatch.setattr(sessions, "int8_products_saturate", lambda: processor_does)
    options = session_options(onnxruntime, threads=1, saturates=weights_do)
    if processor_does and weights_do:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
    else:
        with pytest.raises(RuntimeError, match="x64quantprecision"):
            options.get_session_config_entry("session.x64quantprecision")


@pytest.mark.parametrize("precision", ["int8", "int8-reduced"])
def test_int8_gives_the_same_answers_with_uint8_weights(checkpoint, tmp_path, monkeypatch, precision):
    if precision == "int8" and int8_products_saturate():
        pytest.skip("this processor has no exact products of int8 to compare with")
    bounds = Bounds(max_label_flips=0.2)  # random weights: many rows are near a boundary
    export_bundle(checkpoint, tmp_path / "b", ExportOptions(precisions=[precision], bounds=bounds))
    [variant] = read_manifest(tmp_path / "b").variants
    embeddings, *stages = [tmp_path / "b" / name for name in (variant.embeddings, *variant.stages)]
    ids = np.random.default_rng(0).integers(4, 20, (8, 12))
    inputs = Inputs(ids, np.ones_like(ids), np.zeros_like(ids))
    monkeypatch.setattr(sessions, "int8_products_saturate", lambda: True)
    with_int8, with_uint8 = (
        run_all_exits(
            OnnxRuntimeEngine(SessionPlan(embeddings=embeddings, stages=stages, saturates=saturates)), inputs
        )[0]
        for saturates in (False, True)
    )
    assert np.abs(with_int8 - with_uint8).max() < 1e-4


def test_the_manifest_says_that_reduced_weights_do_not_saturate(checkpoint, tmp_path):
    bounds = Bounds(max_label_flips=0.2)
    precisions = ["int8", "int8-reduced"]
    export_bundle(checkpoint, tmp_path / "b", ExportOptions(precisions=precisions, bounds=bounds))
    variants = {variant.name: variant for variant in read_manifest(tmp_path / "b").variants}
    assert {name: variant.saturates for name, variant in variants.items()} == {"int8": True, "int8-reduced": False}
    for name, largest in (("int8", 127), ("int8-reduced", 64)):
        found = [
            int(np.abs(onnx.numpy_helper.to_array(weight).astype(int)).max())
            for file in variants[name].stages
            for weight in onnx.load(tmp_path / "b" / file).graph.initializer
            if weight.data_type == onnx.TensorProto.INT8
        ]
        assert max(found) == largest


def test_weights_may_saturate_unless_the_manifest_says_otherwise():
    record = {"precision": "int8", "devices": ["cpu"], "engine": "onnxruntime", "embeddings": "e", "stages": ["s"]}
    assert Variant.from_record("int8", record).saturates
