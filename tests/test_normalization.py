import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from fastbert.export.graphs.writer import Graph
from fastbert.normalization import UnbiasedLayerNorm, replace_layer_norms


@pytest.mark.parametrize(("width", "scale"), [(4, 1.0), (48, 1e-4), (768, 30.0), (48, 0.0)])
def test_it_is_uers_formula_in_pytorch_and_in_a_graph(width, scale):
    torch.manual_seed(0)
    norm = UnbiasedLayerNorm(width, eps=1e-6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    states = torch.randn(2, 3, width) * scale + 0.5 * bool(scale)
    exact = states.double()
    expected = norm.weight * (exact - exact.mean(-1, keepdim=True)) / (exact.std(-1, keepdim=True) + 1e-6) + norm.bias
    assert torch.allclose(norm(states).double(), expected, atol=1e-5 + 2e-3 * (scale == 1e-4))

    graph = Graph("norm")
    value = graph.input("x", "float32", ("batch", "sequence", width))
    weight, bias = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    graph.output(graph.unbiased_layer_norm(value, "norm", weight, bias, 1e-6), "y", "float32", ("batch", 3, width))
    session = onnxruntime.InferenceSession(graph.model().SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(["y"], {"x": states.numpy()})[0]
    np.testing.assert_allclose(found, norm(states).detach().numpy(), atol=1e-5 + 2e-3 * (scale == 1e-4))


def test_every_layer_norm_is_replaced_and_state_stays_loadable():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4, eps=1e-6), nn.ModuleDict({"a": nn.LayerNorm(4, eps=1e-5)}))
    state = model.state_dict()
    replace_layer_norms(model)
    assert isinstance(model[1], UnbiasedLayerNorm) and model[1].eps == 1e-6
    assert isinstance(model[2]["a"], UnbiasedLayerNorm) and model[2]["a"].eps == 1e-5
    model.load_state_dict(state)
