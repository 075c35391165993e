"""The whole early exit of one row in one model: one call a request.

A session call a stage, with Python around it, is time in which all threads but one wait; an ``If`` inside a session
takes a fraction of it. So every stage after the first is in a branch of an ``If`` here, which either runs it or, once
an exit has answered, hands the answer on. A stage inside the branch of the one before runs while all those around it
keep their memory; where they all follow one another, an early answer is handed on past each, 12 us at a time. So
branches hold some stages each: the first, and an ``If`` for each of the others.

A row alone has no padding: no mask is made, and none added. Weights stay in the files of the other engines, which this
model names as its external data. A batch of more rows runs stage by stage, as they leave at different exits.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper
from onnx.utils import Extractor

from fastbert.export.joined.external_weights import joined_model, load_part, remove_mask, renamed_value

__all__ = ["early_exit_model"]

_HIDDEN_STATES = "next_hidden_states"


def early_exit_model(embeddings: Path, stages: Sequence[Path], exits: Sequence[int]) -> ModelProto:
    """Join the graphs of the embeddings and of all stages; the model belongs into their folder.

    :param stages: files, in order.
    :param exits: the layer of each stage's exit.
    :returns: a model with the inputs of the embeddings but the mask, int64 [1, sequence], and ``speed``, float32 [1].
        It answers as the first exit does whose uncertainty is below the speed, or as the last: ``logits`` float32
        [1, classes], ``exit_layer`` int64 [1] and ``uncertainty`` float32 [1].
    :raises ValueError: a stage does more with the mask than to add it.
    """
    start = _embeddings(embeddings)
    parts = [_stage(number, file, layer) for number, (file, layer) in enumerate(zip(stages, exits, strict=True))]
    first, *others = [part.graph for part in parts]
    nodes, found = [*start.graph.node, *first.node], _outputs(first)
    for group in _groups(others):
        choice, found = _exit_or(group, found)
        nodes += choice
    outputs = [renamed_value(value, _last(value.name)) for value in first.output if _last(value.name) != _HIDDEN_STATES]
    nodes += [helper.make_node("Identity", [found[output.name]], [output.name]) for output in outputs]
    speed = helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1])
    weights = [*start.graph.initializer, *first.initializer]
    return joined_model(
        helper.make_graph(nodes, "early_exit", [*start.graph.input, speed], outputs, weights), [start, *parts]
    )


def _embeddings(file: Path) -> ModelProto:
    """Load the embeddings of one row, without what makes the mask."""
    whole = load_part(file)
    ids = [value.name for value in whole.graph.input if value.name != "attention_mask"]
    start = Extractor(whole).extract_model(ids, ["hidden_states"])
    for value in start.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return start


def _stage(number: int, file: Path, layer: int) -> ModelProto:
    """Load a stage and let it give its layer too; its values get names of their own, as all are in one model."""
    stage = load_part(file)
    graph = stage.graph
    del graph.value_info[:]  # inputs that are listed here too would be renamed
    remove_mask(graph)
    graph.initializer.append(numpy_helper.from_array(np.array([layer]), "layer"))
    graph.node.append(helper.make_node("Identity", ["layer"], ["exit_layer"]))
    graph.output.append(helper.make_tensor_value_info("exit_layer", TensorProto.INT64, [1]))
    return compose.add_prefix(stage, f"stage_{number:02d}/", rename_inputs=False)


def _groups(stages: Sequence[GraphProto]) -> list[Sequence[GraphProto]]:
    """Cut what follows the first stage into groups of about as many as there are groups, the smallest one first."""
    size = math.ceil(math.sqrt(len(stages))) or 1
    return [stages[max(0, stop - size) : stop] for stop in range(len(stages), 0, -size)][::-1]


def _exit_or(group: Sequence[GraphProto], found: Mapping[str, str]) -> tuple[list[NodeProto], dict[str, str]]:
    """Return the choice to hand on what was found or to run a group of stages, and the names of what it gives.

    :param found: the names of what the stages so far have given.
    """
    first, *others = group
    scope = f"exit_or_{first.output[0].name.partition('/')[0]}/"
    for node in first.node:
        node.input[:] = [found[_HIDDEN_STATES] if name == "hidden_states" else name for name in node.input]
    nodes, given = [*first.node], _outputs(first)
    for stage in others:
        choice, given = _exit_or([stage], given)
        nodes += choice
    outputs = [renamed_value(value, given[_last(value.name)]) for value in first.output]
    leaves = helper.make_node("Less", [found["uncertainty"], "speed"], [f"{scope}leaves"])
    names = {_last(value.name): scope + _last(value.name) for value in first.output}
    choice_node = helper.make_node(
        "If",
        leaves.output,
        list(names.values()),
        name=f"{scope}choice",
        then_branch=_hand_on(scope, found, first),
        else_branch=helper.make_graph(nodes, f"{scope}stages", [], outputs, first.initializer),
    )
    return [leaves, choice_node], names


def _hand_on(scope: str, found: Mapping[str, str], stage: GraphProto) -> GraphProto:
    """Return the branch that gives what was found before, instead of running a stage, and hidden_states of no token."""
    outputs = [renamed_value(value, f"{scope}found/{_last(value.name)}") for value in stage.output]
    declared = {_last(output.name): output.type.tensor_type for output in outputs}[_HIDDEN_STATES]
    size, dtype = declared.shape.dim[-1].dim_value, helper.tensor_dtype_to_np_dtype(declared.elem_type)
    nothing = numpy_helper.from_array(np.zeros((1, 0, size), dtype), f"{scope}no_tokens")
    sources = {**found, _HIDDEN_STATES: nothing.name}
    nodes = [helper.make_node("Identity", [sources[_last(output.name)]], [output.name]) for output in outputs]
    return helper.make_graph(nodes, f"{scope}hand_on", [], outputs, [nothing])


def _outputs(graph: GraphProto) -> dict[str, str]:
    """Return a stage's outputs: name without what it got in the joined model -> name."""
    return {_last(value.name): value.name for value in graph.output}


def _last(name: str) -> str:
    return name.rpartition("/")[2]
