from functools import cache

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbert.configuration import ExitHeadConfig, exit_head_named
from fastbert.exit_heads import MASKED, make_exit
from fastbert.export.graphs.exit_heads import add_exit, add_uncertainty
from fastbert.export.graphs.float16 import Float16Graph
from fastbert.export.graphs.portable import PortableGraph
from fastbert.export.graphs.writer import Graph
from fastbert.uncertainty import MEASURES, uncertainty

CONFIGS = {name: exit_head_named(name, 16) for name in ("attention", "uer", "bitvoyage", "mlp")} | {
    "one head": ExitHeadConfig(size=16, heads=1),
    "no projection": ExitHeadConfig(size=16, heads=4, output_projection=False),
    "narrowed, no projection": ExitHeadConfig(size=16, narrow_activation="gelu", output_projection=False),
}


def _session(graph: Graph) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph.model().SerializeToString())


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("graph_type", [Graph, PortableGraph, Float16Graph])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_folded_head_is_the_module(name, graph_type, batch):
    torch.manual_seed(0)
    module = make_exit(24, 3, CONFIGS[name]).eval()
    for bias in (parameter for key, parameter in module.named_parameters() if key.endswith("bias")):
        torch.nn.init.normal_(bias)  # folding must include every bias
    hidden_states = torch.randn(batch, 7, 24)
    mask = torch.zeros(batch, 1, 1, 7)
    mask[-1, ..., 4:] = MASKED
    graph = graph_type("head")
    names = (
        graph.input("hidden_states", graph.dtype, ("batch", "sequence", 24)),
        graph.input("mask", graph.dtype, ("batch", 1, 1, "sequence")),
    )
    graph.output(add_exit(graph, module, CONFIGS[name], 0, *names), "logits", "float32", ("batch", 3))
    feeds = {"hidden_states": hidden_states.numpy(), "mask": mask.numpy()}
    found = _session(graph).run(None, {key: value.astype(graph.dtype) for key, value in feeds.items()})[0]
    with torch.no_grad():
        expected = module(hidden_states, mask).numpy()
    assert np.abs(found - expected).max() < (1e-2 if graph_type is Float16Graph else 2e-6)


def _uncertainty_graph(classes: int, measure: str, graph_type: type[Graph] = Graph) -> Graph:
    graph = graph_type("uncertainty")
    value = graph.input("logits", "float32", ("batch", classes))
    graph.output(add_uncertainty(graph, value, classes, measure), "uncertainty", "float32", ("batch",))
    return graph


@cache
def _uncertainty_session(classes: int, measure: str, graph_type: type[Graph]) -> onnxruntime.InferenceSession:
    return _session(_uncertainty_graph(classes, measure, graph_type))


def _measured(logits: list[list[float]], measure: str, graph_type: type[Graph] = Graph) -> np.ndarray:
    array = np.array(logits, np.float32)
    return _uncertainty_session(array.shape[1], measure, graph_type).run(None, {"logits": array})[0]


every_measure = pytest.mark.parametrize("measure", MEASURES)


@every_measure
@settings(deadline=None)
@given(logits=st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=9))
def test_uncertainty_is_pytorchs_and_within_0_and_1(measure, logits):
    found = _measured([logits, logits], measure)
    assert np.abs(found - uncertainty(torch.tensor([logits]), measure).item()).max() < 1e-6
    assert (found >= 0).all()
    assert (found <= 1).all()


@every_measure
@pytest.mark.parametrize("classes", [2, 3, 77])
def test_uncertainty_of_trained_looking_logits_is_pytorchs(measure, classes):
    torch.manual_seed(classes)
    logits = torch.randn(2000, classes) * torch.logspace(-2, 1.5, 2000)[:, None]
    found, expected = _measured(logits.tolist(), measure), uncertainty(logits, measure).numpy()
    assert np.abs(found - expected).max() < 1e-6
    assert expected.min() < 0.01 < 0.99 < expected.max()


@every_measure
@pytest.mark.parametrize("classes", [2, 3, 77])
def test_equal_logits_are_1_and_one_hot_is_0(measure, classes):
    one_hot = [1e4, *[0.0] * (classes - 1)]
    assert _measured([[3.0] * classes, one_hot], measure).tolist() == [pytest.approx(1, abs=1e-6), 0.0]


def test_a_tie_of_the_two_largest_is_a_margin_of_0():
    ties = [[2.0, 2.0, 0.0, -1.0], [-1.0, 0.0, 2.0, 2.0], [2.0, 0.0, 2.0, 2.0]]
    assert _measured(ties, "margin").tolist() == [1.0, 1.0, 1.0]


@every_measure
def test_nan_logits_give_a_nan_uncertainty(measure):
    """No sample exits there: comparing with NaN is false."""
    found = _measured([[np.nan, 0.0], [1.0, np.inf]], measure)
    assert np.isnan(found).all()
    assert not (found < 1.0).any()


@every_measure
def test_portable_graphs_measure_the_same_but_for_a_0(measure):
    """OpenVINO computes HardSigmoid wrongly where its beta is 0 (`PortableGraph`)."""
    logits = [[0.5, 0.4, 0.1], [9.0, 1.0, 0.0], [1e4, 0.0, 0.0], [2.0, 2.0, 2.0], [np.nan, 0.0, 0.0]]
    plain, portable = _measured(logits, measure), _measured(logits, measure, PortableGraph)
    expected = np.where(plain == 0, np.float32(2.0**-126), plain) if measure == "entropy" else plain
    assert np.array_equal(portable, expected, equal_nan=True)


@every_measure
def test_one_class_is_certain(measure):
    assert _measured([[3.0], [-1.0]], measure).tolist() == [0.0, 0.0]


@every_measure
def test_the_operators_of_a_measure_are_those_that_every_engine_has(measure):
    """ONNX Runtime's CUDA provider lacked ReduceMax and ReduceMin of opset 20; a GPU may round a MatMul to TF32."""
    nodes = _uncertainty_graph(3, measure).model().graph.node
    assert {node.domain for node in nodes} == {""}
    assert {node.op_type for node in nodes}.isdisjoint({"ReduceMax", "ReduceMin", "MatMul", "Gemm", "Einsum"})


@every_measure
@pytest.mark.parametrize("classes", [1, 2, 77])
def test_tensorrt_for_rtx_builds_a_measure(measure, classes):
    tensorrt = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX, which builds without a GPU")
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    assert parser.parse(_uncertainty_graph(classes, measure).model().SerializeToString())
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    profile.set_shape("logits", (1, classes), (8, classes), (32, classes))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None
