import itertools
import platform

import numpy as np
import onnx
import pytest

from fastbert.export import Bounds, ExportOptions, export_bundle
from fastbert.runtime import processor
from fastbert.runtime.chain import run_all_exits
from fastbert.runtime.engines.cpu import engine
from fastbert.runtime.manifest import Variant, read_manifest


@pytest.mark.parametrize(
    ("machine", "flags", "saturate"),
    [
        ("x86_64", "fpu avx2 avx512f", True),
        ("AMD64", "fpu avx2 avx_vnni", False),
        ("x86_64", "fpu avx512f avx512_vnni", False),
        ("x86_64", "fpu amx_int8", False),
        ("x86_64", None, True),
        ("aarch64", None, False),
    ],
)
def test_products_saturate_on_x86_without_vnni(tmp_path, monkeypatch, machine, flags, saturate):
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(
            f"processor\t: 0\nmodel name\t: One\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: amx_int8\n"
        )
    monkeypatch.setattr(processor, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert processor.int8_products_saturate() == saturate


@pytest.mark.parametrize(("processor_does", "weights_do"), itertools.product((True, False), repeat=2))
def test_onnx_runtime_is_asked_for_uint8_weights_only_where_products_saturate(monkeypatch, processor_does, weights_do):
    import onnxruntime

    monkeypatch.setattr(engine, "int8_products_saturate", lambda: processor_does)
    options = engine.session_options(onnxruntime, threads=1, saturates=weights_do)
    if processor_does and weights_do:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
    else:
        with pytest.raises(RuntimeError, match="x64quantprecision"):
            options.get_session_config_entry("session.x64quantprecision")


@pytest.mark.parametrize("precision", ["int8", "int8-reduced"])
def test_int8_answers_alike_with_uint8_weights(checkpoint, tmp_path, monkeypatch, precision):
    if precision == "int8" and processor.int8_products_saturate():
        pytest.skip("this processor has no exact products of int8 to compare with")
    bounds = Bounds(max_label_flips=0.2)  # random weights: many rows are near a boundary
    export_bundle(checkpoint, tmp_path / "b", ExportOptions(precisions=[precision], bounds=bounds))
    [variant] = read_manifest(tmp_path / "b").variants
    files = [tmp_path / "b" / name for name in (variant.embeddings, *variant.stages)]
    ids = np.random.default_rng(0).integers(4, 20, (8, 12))
    arrays = (ids, np.ones_like(ids), np.zeros_like(ids))
    monkeypatch.setattr(engine, "int8_products_saturate", lambda: True)
    with_int8, with_uint8 = (
        run_all_exits(engine.load_files(files[0], files[1:], saturates=saturates), *arrays)[0]
        for saturates in (False, True)
    )
    assert np.abs(with_int8 - with_uint8).max() < 1e-4


def test_reduced_weights_are_known_not_to_saturate(checkpoint, tmp_path):
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


def test_a_bundle_that_does_not_say_so_may_saturate():
    record = {"precision": "int8", "devices": ["cpu"], "engine": "onnxruntime", "embeddings": "e", "stages": ["s"]}
    assert Variant.from_record("int8", record).saturates
