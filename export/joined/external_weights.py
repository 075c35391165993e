"""Parts of a model that joins other models, whose weights stay in their files."""

from collections.abc import Sequence
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, load_model_from_string

__all__ = ["joined_model", "load_part", "remove_mask", "renamed_value"]

_MASK = "extended_attention_mask"
_EXTERNAL_BYTES = 1 << 15  # smaller ones are copied, so that a stage finds them side by side


def load_part(file: Path) -> ModelProto:
    """Load a model whose large weights name the file as their place, for a model beside it."""
    content = file.read_bytes()
    part = load_model_from_string(content)
    for weight in part.graph.initializer:
        if len(weight.raw_data) >= _EXTERNAL_BYTES:
            message, length = weight.SerializeToString(), len(weight.raw_data)  # its last field
            end = content.index(message) + len(message)  # found by its name: two weights may be alike
            place = {"location": file.name, "offset": end - length, "length": length}
            weight.ClearField("raw_data")
            weight.data_location = TensorProto.EXTERNAL
            for key, value in place.items():
                weight.external_data.add(key=key, value=str(value))
    return part


def remove_mask(graph: GraphProto) -> None:
    """Take the mask's additions away, for rows without padding, to which they add 0.

    :raises ValueError: the graph does more with the mask than to add it, or gives such a sum.
    """
    outputs = {value.name for value in graph.output}
    same: dict[str, str] = {}  # a sum with the mask -> what the mask was added to
    kept = []
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        if _MASK not in node.input:
            kept.append(node)
        elif node.op_type == "Add" and node.output[0] not in outputs:
            [same[node.output[0]]] = [name for name in node.input if name != _MASK]
        else:
            raise ValueError(f"{node.op_type} {node.name} reads {_MASK}, and not to add it on the way.")
    copies = [NodeProto.FromString(node.SerializeToString()) for node in kept]  # the list's own go with it
    del graph.node[:]
    graph.node.extend(copies)


def renamed_value(value: ValueInfoProto, name: str) -> ValueInfoProto:
    """Return the declaration of a value like this one."""
    copy = ValueInfoProto.FromString(value.SerializeToString())
    copy.name = name
    return copy


def joined_model(graph: GraphProto, parts: Sequence[ModelProto]) -> ModelProto:
    """Return the model of a graph that was made of these parts."""
    opsets = {opset.domain: opset for part in parts for opset in part.opset_import}
    return helper.make_model(
        graph, opset_imports=list(opsets.values()), ir_version=parts[0].ir_version, producer_name="fastbert"
    )
