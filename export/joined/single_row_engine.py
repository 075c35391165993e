"""The whole early exit of a single row in the form that TensorRT builds into one engine.

``row.onnx`` (`fastbert.export.joined.single_row`) is not that form: after an exit its branches give hidden states of no
token, so shapes depend on conditions. TensorRT for RTX 1.7 builds no such value that another ``If`` reads, nor one that
nobody reads; with equal shapes it builds fixed lengths only. Here each ``If`` contains all later stages: answers alone
leave a branch, and a row that has exited meets no further condition. ``row.onnx`` avoids this nesting because ONNX
Runtime keeps the buffers of all branches; TensorRT plans them together.

``python -m studies.inner_exits`` builds all of these, and the smallest graphs that fail.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from fastbert.export.joined.external_weights import embed_weights, joined_model, renamed_value
from fastbert.export.joined.row_parts import embeddings_part, output_names, read_hidden_states, short_name, stage_part
from fastbert.runtime.errors import UsageError
from fastbert.runtime.tensors import NEXT_HIDDEN_STATES, ROW_INPUTS, ROW_OUTPUTS, UNCERTAINTY

_SPEED = ROW_INPUTS[-1]
MAX_STAGES = 25  # the parser of TensorRT for RTX 1.7 takes an If that is nested 24 deep, and none deeper


def single_row_engine_model(embeddings: Path, stages: Sequence[Path], exits: Sequence[int]) -> ModelProto:
    """Join the graphs of the embeddings and of all stages into a model to build one engine from.

    :param embeddings: file of the embeddings.
    :param stages: files of the stages, in order, at most `MAX_STAGES`.
    :param exits: the layer of each stage's exit.
    :returns: a model with the inputs and outputs of ``row.onnx``: ``input_ids`` and ``token_type_ids``, int64
        [1, sequence], and ``speed``, float32 [1]; ``logits`` float32 [1, classes], ``exit_layer`` int64 [1] and
        ``uncertainty`` float32 [1]. Its weights are inside, so it may be as large as the files together.
    :raises UsageError: there are more stages than a model can nest.
    :raises ValueError: a stage does something else with the mask than add it.
    """
    check_stages(len(stages))
    start = embeddings_part(embeddings)
    parts = [stage_part(number, file, layer) for number, (file, layer) in enumerate(zip(stages, exits, strict=True))]
    for earlier, later in pairwise(part.graph for part in parts):
        read_hidden_states(later, output_names(earlier)[NEXT_HIDDEN_STATES])
    *others, last = [part.graph for part in parts]
    rest = helper.make_graph(last.node, last.name, [], _answers(last), last.initializer)
    for number, stage in reversed([*enumerate(others)]):
        rest = _exit_or_run(f"after_stage_{number:02d}/", stage, rest)
    names = output_names(rest)
    nodes = [helper.make_node("Identity", [names[name]], [name]) for name in ROW_OUTPUTS]
    outputs = [renamed_value(value, short_name(value.name)) for value in rest.output]
    graph = helper.make_graph(
        [*start.graph.node, *rest.node, *nodes],
        "early_exit",
        [*start.graph.input, helper.make_tensor_value_info(_SPEED, TensorProto.FLOAT, [1])],
        outputs,
        [*start.graph.initializer, *rest.initializer],
    )
    model = joined_model(graph, [start, *parts])
    embed_weights(model, {file.name: file for file in (embeddings, *stages)})
    return model


def check_stages(stages: int) -> None:
    """Check that a model can hold this many stages.

    :raises UsageError: they are more than `MAX_STAGES`.
    """
    if stages > MAX_STAGES:
        raise UsageError(
            f"The variant has {stages} stages; one engine for a single row holds at most {MAX_STAGES}, because "
            "its parser refuses conditions nested deeper. Turn `single_row` off, or export fewer exits: "
            "fastbert export MODEL --output BUNDLE --layers-per-stage 2"
        )


def _exit_or_run(scope: str, stage: GraphProto, later: GraphProto) -> GraphProto:
    """Return a graph that runs a stage, then gives its answer or runs the later stages.

    :param scope: prefix of the names that are added.
    :param later: gives the answer of the later stages, from the hidden states of this one.
    """
    names, answers = output_names(stage), _answers(stage)
    copies = [renamed_value(value, f"{scope}answer/{short_name(value.name)}") for value in answers]
    copy = [helper.make_node("Identity", [names[short_name(value.name)]], [value.name]) for value in copies]
    outputs = [renamed_value(value, f"{scope}{short_name(value.name)}") for value in answers]
    exits = helper.make_node("Less", [names[UNCERTAINTY], _SPEED], [f"{scope}exits"])
    choice = helper.make_node(
        "If",
        exits.output,
        [value.name for value in outputs],
        name=f"{scope}choice",
        then_branch=helper.make_graph(copy, f"{scope}exit", [], copies),
        else_branch=later,
    )
    return helper.make_graph([*stage.node, exits, choice], stage.name, [], outputs, stage.initializer)


def _answers(stage: GraphProto) -> list[ValueInfoProto]:
    """Return the outputs of a stage that are the answer of its exit."""
    values = {short_name(value.name): value for value in stage.output}
    return [values[name] for name in ROW_OUTPUTS]
