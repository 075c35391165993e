"""The whole early exit of one row in one model: one call a request.

A session call a stage, with Python around it, is time in which all threads but one wait; an ``If`` inside a session
takes a fraction of it. So the stages are nested here: after each, an ``If`` either answers or holds all that follows.
Without heads, the chain then takes the whole model's time within 2 % (`benchmarks/reports/chain_profile.json`).
Weights stay in the files of the other engines, which this model names as its external data: inside, ONNX Runtime
would copy a stage's once for every ``If`` around it. A batch of more rows runs stage by stage, as they leave at
different exits.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, compose, helper, numpy_helper

from fastbert.export.joining import joined_model, load_part, renamed_value

__all__ = ["early_exit_model"]


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
    rest = _from_stage(0, [part.graph for part in parts])
    graph = helper.make_graph(
        [*start.graph.node, *rest.node],
        "early_exit",
        [*start.graph.input, helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1])],
        rest.output,
        [*start.graph.initializer, *rest.initializer],
    )
    return joined_model(graph, [start, *parts])


def _stage(number: int, file: Path) -> ModelProto:
    """Load a stage; its values get names of their own, since what is around a branch is known inside it."""
    stage = load_part(file)
    del stage.graph.value_info[:]  # inputs that are listed here too would be renamed
    renamed = compose.add_prefix(stage, _name(number, ""), rename_inputs=False)
    if number > 0:
        for node in renamed.graph.node:
            before = _name(number - 1, "next_hidden_states")
            node.input[:] = [before if name == "hidden_states" else name for name in node.input]
    return renamed


def _from_stage(number: int, stages: Sequence[GraphProto]) -> GraphProto:
    """Return what runs this stage and those after it until one answers; what it reads comes from around it."""
    stage, answer = stages[number], _answer(number, stages[number])
    if number == len(stages) - 1:
        nodes, outputs, weights = list(answer.node), list(answer.output), list(answer.initializer)
    else:
        scope = "" if number == 0 else _name(number, "result/")
        outputs = [renamed_value(value, scope + value.name.rpartition("/")[2]) for value in answer.output]
        leaves = helper.make_node("Less", [_name(number, "uncertainty"), "speed"], [_name(number, "leaves")])
        choice = helper.make_node(
            "If",
            [leaves.output[0]],
            [output.name for output in outputs],
            name=_name(number, "exit"),
            then_branch=answer,
            else_branch=_from_stage(number + 1, stages),
        )
        nodes, weights = [leaves, choice], []
    return helper.make_graph([*stage.node, *nodes], _name(number, "on"), [], outputs, [*stage.initializer, *weights])


def _answer(number: int, stage: GraphProto) -> GraphProto:
    """Return what gives a stage's answer to the graph around."""
    own = numpy_helper.from_array(np.array([number]), _name(number, "number"))
    by_name = {output.name: output for output in stage.output}
    values = [
        by_name[_name(number, "logits")],
        by_name[_name(number, "uncertainty")],
        helper.make_tensor_value_info(own.name, TensorProto.INT64, [1]),
    ]
    names = ("logits", "uncertainty", "stage")
    outputs = [renamed_value(value, _name(number, f"answer/{name}")) for value, name in zip(values, names, strict=True)]
    nodes = [
        helper.make_node("Identity", [value.name], [output.name]) for value, output in zip(values, outputs, strict=True)
    ]
    return helper.make_graph(nodes, _name(number, "answer"), [], outputs, [own])


def _name(number: int, value: str) -> str:
    return f"stage_{number:02d}/{value}"
