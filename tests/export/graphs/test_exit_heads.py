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
from fastbert.uncertainty import uncertainty

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


@pytest.fixture(scope="module", params=[Graph, PortableGraph])
def entropy(request):
    sessions = {}

    def run(logits: list[list[float]]) -> np.ndarray:
        classes = len(logits[0])
        if classes not in sessions:
            graph = request.param("uncertainty")
            value = graph.input("logits", "float32", ("batch", classes))
            graph.output(add_uncertainty(graph, value, classes), "uncertainty", "float32", ("batch",))
            sessions[classes] = _session(graph)
        return sessions[classes].run(None, {"logits": np.array(logits, np.float32)})[0]

    return run


@settings(deadline=None)
@given(logits=st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=9))
def test_uncertainty_is_pytorchs_and_within_0_and_1(entropy, logits):
    found = entropy([logits, logits])
    assert np.abs(found - uncertainty(torch.tensor([logits])).item()).max() < 1e-6
    assert (found >= 0).all()
    assert (found <= 1).all()


def test_nan_logits_give_a_nan_uncertainty(entropy):
    """No sample exits there: comparing with NaN is false."""
    found = entropy([[np.nan, 0.0], [1.0, np.inf]])
    assert np.isnan(found).all()
    assert not (found < 1.0).any()


def test_one_class_is_certain(entropy):
    assert entropy([[3.0], [-1.0]]).tolist() == [0.0, 0.0]
