"""Q/DQ graphs for TensorRT: symmetric, calibrated, with float16 exit heads."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fastbert.export.int8.qdq import best_scale


@pytest.fixture(scope="module")
def stage(gpu_bundle):
    return onnx.load(gpu_bundle / "int8-qdq" / "stage_00.onnx")


def weights(model):
    return {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}


def test_every_product_of_the_layer_reads_int8_on_both_sides(stage):
    made_by = {node.output[0]: node for node in stage.graph.node}
    products = [n for n in stage.graph.node if n.op_type == "MatMul" and n.name.startswith("layer_")]
    linear = [n for n in products if not any(word in n.name for word in ("scores", "context"))]
    kinds = {
        node.name.split("_")[1].split("/")[1]: [made_by[name].op_type if name in made_by else "" for name in node.input]
        for node in linear
    }
    assert kinds.pop("output.dense") == ["Gelu", ""]  # in float16
    assert len(kinds) == 5
    assert all(kind == ["DequantizeLinear"] * 2 for kind in kinds.values())
    heads = [n for n in stage.graph.node if n.name.startswith("exit_")]
    assert "QuantizeLinear" not in {node.op_type for node in heads}
    assert sum(node.op_type == "QuantizeLinear" for node in stage.graph.node) == 3  # query, key and value share one


def test_the_scheme_is_symmetric_int8_with_float16_scales(stage):
    values = weights(stage)
    for node in stage.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert values[node.input[1]].dtype == np.float16
            assert (values[node.input[1]] > 0).all()
            if len(node.input) > 2:
                assert values[node.input[2]].dtype == np.int8
                assert values[node.input[2]] == 0
    names = ("layer_00/attention.output.dense.weight", "layer_00/intermediate.dense.weight")
    integers = [value for name, value in values.items() if name in names]
    assert len(integers) == 2
    assert all(value.dtype == np.int8 and value.min() >= -127 for value in integers)


def test_all_types_fit_as_a_strongly_typed_engine_requires(stage):
    onnx.checker.check_model(stage, full_check=True)
    onnx.shape_inference.infer_shapes(stage, check_type=True, strict_mode=True, data_prop=True)
    assert sum(node.op_type == "Cast" for node in stage.graph.node) == 1
    assert {node.domain for node in stage.graph.node} == {""}


def test_the_scales_are_those_of_the_rows(gpu_bundle, checkpoint, stage):
    """Calibrating on other rows gives others; on the same rows the same."""
    from support.factories import make_rows

    from fastbert.export.golden import Golden
    from fastbert.export.graphs.stages import plan_stages
    from fastbert.export.int8.qdq import qdq_graphs
    from fastbert.reference import compute_reference

    def scales(rows):
        golden = Golden.from_reference(
            rows, compute_reference(checkpoint, rows), [0, 1, 2], checkpoint.model.config.labels
        )
        graphs = list(qdq_graphs(checkpoint.model, plan_stages(3, 1), golden))
        names = [n.input[1] for n in graphs[1].graph.node if n.op_type == "QuantizeLinear"]
        return [float(weights(graphs[1])[name]) for name in names]

    mine = [float(weights(stage)[n.input[1]]) for n in stage.graph.node if n.op_type == "QuantizeLinear"]
    assert scales(list(checkpoint.sample_rows[10:20])) == mine  # the bundle's
    assert scales(make_rows(5, seed=9)) != mine


def test_smoothing_is_undone_by_the_weights(stage, checkpoint):
    """The rows of the weight are multiplied by what the channels of the activation are divided by."""
    values = weights(stage)
    product = next(
        n for n in stage.graph.node if n.name.startswith("layer_00/intermediate.dense") and n.op_type == "MatMul"
    )
    made_by = {node.output[0]: node for node in stage.graph.node}
    dequantized = made_by[product.input[1]]
    weight = values[dequantized.input[0]].astype(np.float32) * values[dequantized.input[1]].astype(np.float32)
    smooth = made_by[made_by[made_by[product.input[0]].input[0]].input[0]]
    assert smooth.op_type == "Mul"
    original = checkpoint.model.backbone.encoder.layer[0].intermediate.dense.weight.detach().numpy().T
    restored = weight * values[smooth.input[1]].astype(np.float32)[:, None]
    assert np.abs(restored - original).max() < 0.02 * np.abs(original).max()


def test_a_scale_clips_outliers_where_that_lowers_the_error():
    values = np.random.default_rng(0).normal(size=20_000)
    assert best_scale(values) == pytest.approx(np.abs(values).max() / 127, rel=0.45)
    with_outlier = np.append(values, 60.0)
    assert best_scale(with_outlier) < 60 / 127

    def error(scale):
        return np.square(np.clip(np.rint(with_outlier / scale), -127, 127) * scale - with_outlier).sum()

    assert error(best_scale(with_outlier)) < error(60 / 127)
    assert best_scale(np.zeros(3)) == 1.0
