"""All stages of a variant in one model, which runs the stage asked for (``chain.onnx``).

One session per stage means one thread pool per stage, whose threads sleep while the other pools work. One session for
all stages has one pool (onnxruntime#17011; docs/performance.md#threads). The model is a tree of ``If`` nodes over the
binary digits of the stage's number; its leaves are the graphs of the stages. The weights stay in the stages' files,
which this model names as its external data.
"""

from collections.abc import Sequence
from pathlib import Path

from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from fastbert.export.joined.external_weights import joined_model, load_part, renamed_value
from fastbert.runtime.tensors import stage_digits


def all_stages_model(files: Sequence[Path]) -> ModelProto:
    """Join the graphs of all stages into a model, which must be saved in their folder.

    :param files: of the stages, in order, at least two.
    :returns: a model with the inputs of a stage and ``digit_0``, ``digit_1`` ..., bool scalars: the binary digits of
        the stage to run (`fastbert.runtime.tensors.stage_digits`). Its outputs are those of a stage, named
        ``chain/NAME``.
    """
    stages = [load_part(file) for file in files]
    graphs = [stage.graph for stage in stages]
    inputs, outputs = list(graphs[0].input), list(graphs[0].output)
    for graph in graphs:
        del graph.input[:]  # a branch reads them from the enclosing graph
    branch = _branch(graphs, outputs, "chain")
    digits = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in stage_digits(0, len(files))]
    graph = helper.make_graph(branch.node, "chain", [*inputs, *digits], branch.output)
    return joined_model(graph, stages)


def _branch(graphs: Sequence[GraphProto], outputs: Sequence[ValueInfoProto], name: str) -> GraphProto:
    """Return a graph that runs one of these stages, chosen by the digits."""
    if len(graphs) == 1:
        return graphs[0]
    digit = (len(graphs) - 1).bit_length() - 1
    half = 1 << digit
    # a branch must not reuse a name of the enclosing graph
    chosen = [renamed_value(output, f"{name}/{output.name}") for output in outputs]
    choice = helper.make_node(
        "If",
        [f"digit_{digit}"],
        [value.name for value in chosen],
        name=name,
        then_branch=_branch(graphs[half:], outputs, f"{name}.1"),
        else_branch=_branch(graphs[:half], outputs, f"{name}.0"),
    )
    return helper.make_graph([choice], name, [], chosen)
