"""The whole early exit of one row in one model: one call a request.

A session call a stage, with Python around it, is time in which all threads but one wait; an ``If`` inside a session
takes a fraction of it. So every stage after the first is a branch of an ``If`` here, which either runs it or, once an
exit has answered, hands the answer on. They follow one another: a stage inside the branch of the one before would run
while all those around it keep their memory. Weights stay in the files of the other engines, which this model names as
its external data. A batch of more rows runs stage by stage, as they leave at different exits.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, compose, helper, numpy_helper

from fastbert.export.joining import joined_model, load_part, renamed_value

__all__ = ["early_exit_model"]

_HIDDEN_STATES = "next_hidden_states"


def early_exit_model(embeddings: Path, stages: Sequence[Path]) -> ModelProto:
    """Join the graphs of the embeddings and of all stages; the model belongs into their folder.

    :param stages: files, in order.
    :returns: a model with the inputs of the embeddings, int64 [1, sequence], and ``speed``, float32 [1]. It answers as
        the first exit does whose uncertainty is below the speed, or as the last: ``logits`` float32 [1, classes],
        ``uncertainty`` float32 [1], and ``stage`` int64 [1], the number of the exit.
    """
    start = load_part(embeddings)
    for ids in start.graph.input:
        ids.type.tensor_type.shape.dim[0].dim_value = 1
    parts = [_stage(number, file) for number, file in enumerate(stages)]
    first, *others = [part.graph for part in parts]
    nodes = [*start.graph.node, *first.node]
    found = {_last(value.name): value.name for value in first.output}  # what the stages so far have given
    for number, stage in enumerate(others, start=1):
        leaves = helper.make_node("Less", [found["uncertainty"], "speed"], [f"leaves_{number:02d}"])
        choice = helper.make_node(
            "If",
            leaves.output,
            [f"after_{number:02d}/{name}" for name in found],
            name=f"exit_or_stage_{number:02d}",
            then_branch=_hand_on(number, found, stage),
            else_branch=_go_on(stage, found[_HIDDEN_STATES]),
        )
        nodes += [leaves, choice]
        found = dict(zip(found, choice.output, strict=True))
    outputs = [renamed_value(value, _last(value.name)) for value in first.output if _last(value.name) != _HIDDEN_STATES]
    nodes += [helper.make_node("Identity", [found[output.name]], [output.name]) for output in outputs]
    speed = helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1])
    weights = [*start.graph.initializer, *first.initializer]
    return joined_model(
        helper.make_graph(nodes, "early_exit", [*start.graph.input, speed], outputs, weights), [start, *parts]
    )


def _stage(number: int, file: Path) -> ModelProto:
    """Load a stage and let it give its number too; its values get names of their own, as all are in one model."""
    stage = load_part(file)
    graph = stage.graph
    del graph.value_info[:]  # inputs that are listed here too would be renamed
    graph.initializer.append(numpy_helper.from_array(np.array([number]), "number"))
    graph.node.append(helper.make_node("Identity", ["number"], ["stage"]))
    graph.output.append(helper.make_tensor_value_info("stage", TensorProto.INT64, [1]))
    return compose.add_prefix(stage, f"stage_{number:02d}/", rename_inputs=False)


def _go_on(stage: GraphProto, hidden_states: str) -> GraphProto:
    """Return the branch that runs a stage, on hidden_states of that name."""
    for node in stage.node:
        node.input[:] = [hidden_states if name == "hidden_states" else name for name in node.input]
    return helper.make_graph(stage.node, f"{stage.name}/go_on", [], stage.output, stage.initializer)


def _hand_on(number: int, found: Mapping[str, str], stage: GraphProto) -> GraphProto:
    """Return the branch that gives what was found before, instead of running a stage, and hidden_states of no token."""
    scope = f"answered_{number:02d}/"
    outputs = [renamed_value(value, scope + _last(value.name)) for value in stage.output]
    declared = {_last(output.name): output.type.tensor_type for output in outputs}[_HIDDEN_STATES]
    size, dtype = declared.shape.dim[-1].dim_value, helper.tensor_dtype_to_np_dtype(declared.elem_type)
    nothing = numpy_helper.from_array(np.zeros((1, 0, size), dtype), f"{scope}no_tokens")
    sources = {**found, _HIDDEN_STATES: nothing.name}
    nodes = [helper.make_node("Identity", [sources[_last(output.name)]], [output.name]) for output in outputs]
    return helper.make_graph(nodes, f"{scope}graph", [], outputs, [nothing])


def _last(name: str) -> str:
    """Return a value's name without what it got in the joined model."""
    return name.rpartition("/")[2]
