"""Weights that stay in the file of another model."""

from pathlib import Path

from onnx import GraphProto, TensorProto

__all__ = ["refer_to"]

_EXTERNAL_BYTES = 1 << 15  # smaller ones are copied, so that a stage finds them side by side


def refer_to(file: Path, graph: GraphProto) -> None:
    """Name the file, which holds the graph, as the place of the graph's weights, for a model beside it."""
    content = file.read_bytes()
    for weight in graph.initializer:
        if len(weight.raw_data) >= _EXTERNAL_BYTES:
            message, length = weight.SerializeToString(), len(weight.raw_data)  # its last field
            end = content.index(message) + len(message)  # found by its name: two weights may be alike
            place = {"location": file.name, "offset": end - length, "length": length}
            weight.ClearField("raw_data")
            weight.data_location = TensorProto.EXTERNAL
            for key, value in place.items():
                weight.external_data.add(key=key, value=str(value))
