"""Models that are joined from others and read their weights from the others' files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, load_model_from_string

_MASK = "extended_attention_mask"
_EXTERNAL_BYTES = 1 << 15  # smaller weights are copied


def load_part(file: Path) -> ModelProto:
    """Load a model for another one in the same folder: its large weights become external data in its own file."""
    content = file.read_bytes()
    part = load_model_from_string(content)
    for weight in part.graph.initializer:
        if len(weight.raw_data) >= _EXTERNAL_BYTES:
            message, length = weight.SerializeToString(), len(weight.raw_data)  # raw_data is the last field
            end = content.index(message) + len(message)  # unique: the message contains the name
            place = {"location": file.name, "offset": end - length, "length": length}
            weight.ClearField("raw_data")
            weight.data_location = TensorProto.EXTERNAL
            for key, value in place.items():
                weight.external_data.add(key=key, value=str(value))
    return part


def embed_weights(model: ModelProto, files: Mapping[str, Path]) -> None:
    """Read the external data of a model, the reverse of `load_part`: it then needs no other file.

    :param files: location in the model -> the file to read.
    :raises ValueError: a weight is in another file, or beyond the end of its file.
    """
    for weight in _weights(model.graph):
        if weight.data_location != TensorProto.EXTERNAL:
            continue
        place = {entry.key: entry.value for entry in weight.external_data}
        file, length = files.get(place["location"]), int(place["length"])
        if file is None:
            raise ValueError(f"{weight.name} is in {place['location']}, which is not an engine of the variant")
        with file.open("rb") as content:
            content.seek(int(place["offset"]))
            weight.raw_data = content.read(length)
        if len(weight.raw_data) != length:
            raise ValueError(f"{weight.name} is beyond the end of {file}")
        weight.ClearField("external_data")
        weight.ClearField("data_location")


def _weights(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield the weights of a graph and of its branches."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _weights(attribute.g)


def remove_mask(graph: GraphProto) -> None:
    """Remove the additions of the mask, which is 0 for rows without padding.

    :raises ValueError: the graph does something else with the mask, or such a sum is an output.
    """
    outputs = {value.name for value in graph.output}
    unmasked: dict[str, str] = {}  # a sum with the mask -> what the mask was added to
    kept = []
    for node in graph.node:
        node.input[:] = [unmasked.get(name, name) for name in node.input]
        if _MASK not in node.input:
            kept.append(node)
        elif node.op_type == "Add" and node.output[0] not in outputs:
            [unmasked[node.output[0]]] = [name for name in node.input if name != _MASK]
        else:
            raise ValueError(f"{node.op_type} {node.name} reads {_MASK}; only an Add inside the graph may.")
    copies = [NodeProto.FromString(node.SerializeToString()) for node in kept]  # deleting the list deletes its nodes
    del graph.node[:]
    graph.node.extend(copies)


def renamed_value(value: ValueInfoProto, name: str) -> ValueInfoProto:
    """Return a copy of a declaration under another name."""
    copy = ValueInfoProto.FromString(value.SerializeToString())
    copy.name = name
    return copy


def joined_model(graph: GraphProto, parts: Sequence[ModelProto]) -> ModelProto:
    """Return the model of a graph that was joined from these parts."""
    opsets = {opset.domain: opset for part in parts for opset in part.opset_import}
    return helper.make_model(
        graph, opset_imports=list(opsets.values()), ir_version=parts[0].ir_version, producer_name="fastbert"
    )
