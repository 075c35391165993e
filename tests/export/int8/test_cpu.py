"""Int8 graphs: ONNX Runtime computes what the rounding predicts."""

import numpy as np
import onnx
import onnxruntime
import pytest

from fastbert.export import Bounds, ExportOptions, export_bundle
from fastbert.export.int8.cpu import Int8Graph
from fastbert.export.int8.rounding import Rounding
from fastbert.runtime.engines.cpu.sessions import session_options

SMOOTH = np.linspace(0.5, 2.0, 32).astype(np.float32)


@pytest.mark.parametrize(
    ("rounding", "operations"),
    [
        (Rounding(0.05, 120), ["QuantizeLinear", "MatMulIntegerToFloat"]),
        (Rounding(0.05, 120, smooth=SMOOTH), ["Mul", "QuantizeLinear", "MatMulIntegerToFloat"]),
        (
            Rounding(0.05, 120, outliers=(3, 9)),
            ["QuantizeLinear", "MatMulIntegerToFloat", "Gather", "MatMul", "Add"],
        ),
    ],
)
def test_a_product_is_what_its_rounding_predicts(rounding, operations):
    random = np.random.default_rng(0)
    values, weight = random.standard_normal((1, 6, 32)).astype(np.float32), random.standard_normal((32, 8))
    values[..., 3] += 40.0  # beyond the range
    weight, bias = weight.astype(np.float32), random.standard_normal(8).astype(np.float32)
    graph = Int8Graph({"layer_00/dense": rounding}, "one")
    value = graph.input("x", "float32", ("batch", "sequence", 32))
    graph.scope("layer_00")
    graph.output(graph.linear(value, "dense", weight, bias), "y", "float32", ("batch", "sequence", 8))
    model = graph.model()
    assert [node.op_type for node in model.graph.node] == operations
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(onnxruntime, threads=1), providers=["CPUExecutionProvider"]
    )
    [found] = session.run(None, {"x": values})
    assert np.abs(found[0] - rounding.product(values[0], weight) - bias).max() < 1e-4
    exact = values[0] @ weight + bias
    if rounding.outliers:
        assert np.abs(found[0] - exact).max() < 1.0
    else:
        assert np.abs(found[0] - exact).max() > 10.0  # clipped by the scale


def test_products_of_the_layers_are_int8_and_heads_are_not(checkpoint, tmp_path):
    bounds = Bounds(max_label_flips=1.0)
    export_bundle(checkpoint, tmp_path / "b", ExportOptions(precisions=["int8"], bounds=bounds))
    stage = onnx.load(tmp_path / "b" / "int8" / "stage_00.onnx")
    integer = [node.name for node in stage.graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert len(integer) == 6
    assert all(name.startswith("layer_00/") for name in integer)
    # query, key and value read one rounded activation
    assert sum(node.op_type == "QuantizeLinear" for node in stage.graph.node) == 4
