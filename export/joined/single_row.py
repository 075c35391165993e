"""The whole early exit of a single row in one model, and so in one call (``row.onnx``).

Calling one session per stage leaves all but one thread idle while Python runs. Here each later stage is in a branch of
an ``If``, which runs it or passes an earlier answer through. Nesting all branches would keep every buffer alive;
chaining them would pass an early answer through each. So stages are grouped, about sqrt(n) per branch.

A single row has no padding, so it needs no mask. Weights stay in the files of the other engines, as external data.
Costs: docs/performance.md#single-row.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper
from onnx.utils import Extractor

from fastbert.export.joined.external_weights import joined_model, load_part, remove_mask, renamed_value

_HIDDEN_STATES = "next_hidden_states"


def single_row_model(embeddings: Path, stages: Sequence[Path], exits: Sequence[int]) -> ModelProto:
    """Join the graphs of the embeddings and of all stages into a model, which must be saved in their folder.

    :param stages: files of the stages, in order.
    :param exits: the layer of each stage's exit.
    :returns: a model with the inputs ``input_ids`` and ``token_type_ids``, int64 [1, sequence], and ``speed``, float32
        [1]. The first exit whose uncertainty is below the speed answers, or the last one: ``logits`` float32
        [1, classes], ``exit_layer`` int64 [1] and ``uncertainty`` float32 [1].
    :raises ValueError: a stage does something else with the mask than add it.
    """
    start = _embeddings(embeddings)
    parts = [_stage(number, file, layer) for number, (file, layer) in enumerate(zip(stages, exits, strict=True))]
    first, *others = [part.graph for part in parts]
    nodes, answer = [*start.graph.node, *first.node], _outputs(first)
    for group in _groups(others):
        choice, answer = _run_unless_exited(group, answer)
        nodes += choice
    outputs = [renamed_value(value, _last(value.name)) for value in first.output if _last(value.name) != _HIDDEN_STATES]
    nodes += [helper.make_node("Identity", [answer[output.name]], [output.name]) for output in outputs]
    speed = helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1])
    weights = [*start.graph.initializer, *first.initializer]
    return joined_model(
        helper.make_graph(nodes, "early_exit", [*start.graph.input, speed], outputs, weights), [start, *parts]
    )


def _embeddings(file: Path) -> ModelProto:
    """Load the embeddings for a single row, without the nodes that make the mask."""
    whole = load_part(file)
    ids = [value.name for value in whole.graph.input if value.name != "attention_mask"]
    start = Extractor(whole).extract_model(ids, ["hidden_states"])
    for value in start.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return start


def _stage(number: int, file: Path, layer: int) -> ModelProto:
    """Load a stage, add its layer as an output, and prefix all names, to be unique in the joined model."""
    stage = load_part(file)
    graph = stage.graph
    del graph.value_info[:]  # add_prefix would rename inputs that are also listed here (onnx#6754)
    remove_mask(graph)
    graph.initializer.append(numpy_helper.from_array(np.array([layer]), "layer"))
    graph.node.append(helper.make_node("Identity", ["layer"], ["exit_layer"]))
    graph.output.append(helper.make_tensor_value_info("exit_layer", TensorProto.INT64, [1]))
    return compose.add_prefix(stage, f"stage_{number:02d}/", rename_inputs=False)


def _groups(stages: Sequence[GraphProto]) -> list[Sequence[GraphProto]]:
    """Split the stages into about sqrt(n) groups of about sqrt(n), the smallest group first."""
    size = math.ceil(math.sqrt(len(stages))) or 1
    return [stages[max(0, stop - size) : stop] for stop in range(len(stages), 0, -size)][::-1]


def _run_unless_exited(
    group: Sequence[GraphProto], answer: Mapping[str, str]
) -> tuple[list[NodeProto], dict[str, str]]:
    """Return the ``If`` that passes an earlier answer through or runs a group of stages, and the names of its outputs.

    :param answer: output of a stage, such as ``logits`` -> its name after the stages so far.
    """
    first, *others = group
    scope = f"after_{first.output[0].name.partition('/')[0]}/"
    for node in first.node:
        node.input[:] = [answer[_HIDDEN_STATES] if name == "hidden_states" else name for name in node.input]
    nodes, inner = [*first.node], _outputs(first)
    for stage in others:
        choice, inner = _run_unless_exited([stage], inner)
        nodes += choice
    outputs = [renamed_value(value, inner[_last(value.name)]) for value in first.output]
    exits = helper.make_node("Less", [answer["uncertainty"], "speed"], [f"{scope}exits"])
    names = {_last(value.name): scope + _last(value.name) for value in first.output}
    choice_node = helper.make_node(
        "If",
        exits.output,
        list(names.values()),
        name=f"{scope}choice",
        then_branch=_pass_through(scope, answer, first),
        else_branch=helper.make_graph(nodes, f"{scope}stages", [], outputs, first.initializer),
    )
    return [exits, choice_node], names


def _pass_through(scope: str, answer: Mapping[str, str], stage: GraphProto) -> GraphProto:
    """Return the branch that gives an earlier answer instead of a stage's, and hidden states of no token."""
    outputs = [renamed_value(value, f"{scope}answer/{_last(value.name)}") for value in stage.output]
    declared = {_last(output.name): output.type.tensor_type for output in outputs}[_HIDDEN_STATES]
    size, dtype = declared.shape.dim[-1].dim_value, helper.tensor_dtype_to_np_dtype(declared.elem_type)
    nothing = numpy_helper.from_array(np.zeros((1, 0, size), dtype), f"{scope}no_tokens")
    sources = {**answer, _HIDDEN_STATES: nothing.name}
    nodes = [helper.make_node("Identity", [sources[_last(output.name)]], [output.name]) for output in outputs]
    return helper.make_graph(nodes, f"{scope}pass_through", [], outputs, [nothing])


def _outputs(graph: GraphProto) -> dict[str, str]:
    """Return output of a stage, such as ``logits`` -> its name in the joined model."""
    return {_last(value.name): value.name for value in graph.output}


def _last(name: str) -> str:
    return name.rpartition("/")[2]
