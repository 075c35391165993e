"""All stages of a variant in one model, which runs the stage asked for.

A session a stage means a thread pool a stage, and each pool's threads sleep while the others work: on two threads a
chain of MiniLM then takes as long as on one. One session has one pool (`studies/reports/thread_pools.json`). The
model is a tree of ``If`` nodes over the binary digits of the stage's number; its leaves are the stages' graphs. Weights
stay in the stages' files, which this model names as its external data: it is small itself, and its parts can still be
built or run one by one.
"""

from collections.abc import Sequence
from pathlib import Path

from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from fastbert.export.joined.external_weights import joined_model, load_part, renamed_value
from fastbert.runtime.tensors import stage_digits

__all__ = ["chain_model"]


def chain_model(files: Sequence[Path]) -> ModelProto:
    """Join the graphs of all stages; the model belongs into their folder.

    :param files: the stages', in order, at least two.
    :returns: a model with the inputs of a stage and ``digit_0``, ``digit_1`` ..., bool scalars: the binary digits of
        the stage to run (`fastbert.runtime.tensors.stage_digits`). Its outputs are a stage's, under ``chain/NAME``.
    """
    stages = [load_part(file) for file in files]
    graphs = [stage.graph for stage in stages]
    inputs, outputs = list(graphs[0].input), list(graphs[0].output)
    for graph in graphs:
        del graph.input[:]  # a branch reads them from the graph around it
    branch = _branch(graphs, outputs, "chain")
    digits = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in stage_digits(0, len(files))]
    graph = helper.make_graph(branch.node, "chain", [*inputs, *digits], branch.output)
    return joined_model(graph, stages)


def _branch(graphs: Sequence[GraphProto], outputs: Sequence[ValueInfoProto], name: str) -> GraphProto:
    """Return what runs one of these stages."""
    if len(graphs) == 1:
        return graphs[0]
    digit = (len(graphs) - 1).bit_length() - 1
    half = 1 << digit
    # a name may not be used again inside a branch
    answers = [renamed_value(output, f"{name}/{output.name}") for output in outputs]
    choice = helper.make_node(
        "If",
        [f"digit_{digit}"],
        [answer.name for answer in answers],
        name=name,
        then_branch=_branch(graphs[half:], outputs, f"{name}.1"),
        else_branch=_branch(graphs[:half], outputs, f"{name}.0"),
    )
    return helper.make_graph([choice], name, [], answers)
