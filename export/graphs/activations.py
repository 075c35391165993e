"""Activations by their Hugging Face names, as ONNX operators."""

from fastbert.export.graphs.writer import Graph
from fastbert.runtime.errors import CheckpointError

# name -> (operator, attributes)
ACTIVATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "gelu": ("Gelu", {}),
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "gelu_pytorch_tanh": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
    "tanh": ("Tanh", {}),
}


def add_activation(graph: Graph, value: str, name: str | None) -> str:
    """Apply an activation by name; None: return ``value`` itself.

    :raises CheckpointError: the activation cannot be exported.
    """
    if name is None:
        return value
    if name not in ACTIVATIONS:
        raise CheckpointError(f"The activation {name!r} cannot be exported; known are {', '.join(ACTIVATIONS)}.")
    operator, attributes = ACTIVATIONS[name]
    return graph.op(operator, value, **attributes)
