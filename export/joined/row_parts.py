"""The graphs that a model of a single row is joined from: the embeddings and the stages, without the mask."""

from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, compose, helper, numpy_helper
from onnx.utils import Extractor

from fastbert.export.joined.external_weights import load_part, remove_mask


def embeddings_part(file: Path) -> ModelProto:
    """Load the embeddings for a single row, without the nodes that make the mask."""
    whole = load_part(file)
    ids = [value.name for value in whole.graph.input if value.name != "attention_mask"]
    start = Extractor(whole).extract_model(ids, ["hidden_states"])
    for value in start.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return start


def stage_part(number: int, file: Path, layer: int) -> ModelProto:
    """Load a stage, add its layer as an output, and prefix all names, to be unique in the joined model.

    Only its input ``hidden_states`` keeps its name.

    :param layer: of the stage's exit.
    :raises ValueError: the stage does something else with the mask than add it.
    """
    stage = load_part(file)
    graph = stage.graph
    del graph.value_info[:]  # add_prefix would rename inputs that are also listed here (onnx#6754)
    remove_mask(graph)
    graph.initializer.append(numpy_helper.from_array(np.array([layer]), "layer"))
    graph.node.append(helper.make_node("Identity", ["layer"], ["exit_layer"]))
    graph.output.append(helper.make_tensor_value_info("exit_layer", TensorProto.INT64, [1]))
    return compose.add_prefix(stage, f"stage_{number:02d}/", rename_inputs=False)


def output_names(graph: GraphProto) -> dict[str, str]:
    """Return output of a stage, such as ``logits`` -> its name in the joined model."""
    return {short_name(value.name): value.name for value in graph.output}


def read_hidden_states(graph: GraphProto, name: str) -> None:
    """Let the nodes of a stage read their hidden states under this name of the joined model."""
    for node in graph.node:
        node.input[:] = [name if value == "hidden_states" else value for value in node.input]


def short_name(name: str) -> str:
    """Return a name without the prefixes that make it unique."""
    return name.rpartition("/")[2]
