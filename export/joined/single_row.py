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
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fastbert.export.joined.external_weights import joined_model, renamed_value
from fastbert.export.joined.row_parts import embeddings_part, output_names, read_hidden_states, short_name, stage_part
from fastbert.runtime.tensors import NEXT_HIDDEN_STATES


def single_row_model(embeddings: Path, stages: Sequence[Path], exits: Sequence[int]) -> ModelProto:
    """Join the graphs of the embeddings and of all stages into a model, which must be saved in their folder.

    :param stages: files of the stages, in order.
    :param exits: the layer of each stage's exit.
    :returns: a model with the inputs ``input_ids`` and ``token_type_ids``, int64 [1, sequence], and ``speed``, float32
        [1]. The first exit whose uncertainty is below the speed answers, or the last one: ``logits`` float32
        [1, classes], ``exit_layer`` int64 [1] and ``uncertainty`` float32 [1].
    :raises ValueError: a stage does something else with the mask than add it.
    """
    start = embeddings_part(embeddings)
    parts = [stage_part(number, file, layer) for number, (file, layer) in enumerate(zip(stages, exits, strict=True))]
    first, *others = [part.graph for part in parts]
    nodes, answer = [*start.graph.node, *first.node], output_names(first)
    for group in _groups(others):
        choice, answer = _run_unless_exited(group, answer)
        nodes += choice
    outputs = [
        renamed_value(value, short_name(value.name))
        for value in first.output
        if short_name(value.name) != NEXT_HIDDEN_STATES
    ]
    nodes += [helper.make_node("Identity", [answer[output.name]], [output.name]) for output in outputs]
    speed = helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1])
    weights = [*start.graph.initializer, *first.initializer]
    return joined_model(
        helper.make_graph(nodes, "early_exit", [*start.graph.input, speed], outputs, weights), [start, *parts]
    )


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
    read_hidden_states(first, answer[NEXT_HIDDEN_STATES])
    nodes, inner = [*first.node], output_names(first)
    for stage in others:
        choice, inner = _run_unless_exited([stage], inner)
        nodes += choice
    outputs = [renamed_value(value, inner[short_name(value.name)]) for value in first.output]
    exits = helper.make_node("Less", [answer["uncertainty"], "speed"], [f"{scope}exits"])
    names = {short_name(value.name): scope + short_name(value.name) for value in first.output}
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
    outputs = [renamed_value(value, f"{scope}answer/{short_name(value.name)}") for value in stage.output]
    declared = {short_name(output.name): output.type.tensor_type for output in outputs}[NEXT_HIDDEN_STATES]
    size, dtype = declared.shape.dim[-1].dim_value, helper.tensor_dtype_to_np_dtype(declared.elem_type)
    nothing = numpy_helper.from_array(np.zeros((1, 0, size), dtype), f"{scope}no_tokens")
    sources = {**answer, NEXT_HIDDEN_STATES: nothing.name}
    nodes = [helper.make_node("Identity", [sources[short_name(output.name)]], [output.name]) for output in outputs]
    return helper.make_graph(nodes, f"{scope}pass_through", [], outputs, [nothing])
