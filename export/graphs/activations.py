"""Activations by their Hugging Face names, as ONNX operators."""

from fastbert.export.graphs.writer import Graph
from fastbert.runtime.errors import CheckpointError

__all__ = ["ACTIVATIONS", "add_activation"]

# name -> (operator, attributes)
ACTIVATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "gelu": ("Gelu", {}),
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "gelu_pytorch_tanh": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
    "tanh": ("Tanh", {}),
}


def add_activation(graph: Graph, value: str, name: str | None) -> str:
    """Apply an activation; None: the identity.

    :raises CheckpointError: the engines have no such activation.
    """
    if name is None:
        return value
    if name not in ACTIVATIONS:
        raise CheckpointError(f"The activation {name!r} cannot be exported; known are {', '.join(ACTIVATIONS)}.")
    operator, attributes = ACTIVATIONS[name]
    return graph.op(operator, value, **attributes)
