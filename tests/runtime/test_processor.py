import platform

import numpy as np
import pytest

from fastbert.export.bundle import export_checkpoint
from fastbert.export.verification import Bounds
from fastbert.runtime import Classifier, processor
from fastbert.runtime.engines import onnxruntime as engine


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


@pytest.mark.parametrize("saturate", [True, False])
def test_onnx_runtime_is_asked_for_uint8_weights_only_where_products_saturate(monkeypatch, saturate):
    import onnxruntime

    monkeypatch.setattr(engine, "int8_products_saturate", lambda: saturate)
    options = engine.session_options(onnxruntime, threads=1)
    if saturate:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
    else:
        with pytest.raises(RuntimeError, match="x64quantprecision"):
            options.get_session_config_entry("session.x64quantprecision")


def test_int8_answers_alike_with_uint8_weights(checkpoint, tmp_path, monkeypatch):
    bounds = Bounds(max_label_flips=0.2)  # random weights: many rows are near a boundary
    rows = checkpoint.sample_rows
    export_checkpoint(checkpoint, tmp_path / "b", rows=rows, precisions=["int8"], bounds=bounds)
    ids = np.random.default_rng(0).integers(4, 20, (8, 12))
    answers = []
    for saturate in (False, True):
        monkeypatch.setattr(engine, "int8_products_saturate", lambda found=saturate: found)
        answers.append(Classifier.load(tmp_path / "b", variant="int8").run_all_exits(ids)[0])
    assert np.abs(answers[0] - answers[1]).max() < 1e-4
